"""The page in a real browser: `make browser` brings one; without any these tests are skipped."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from example_grid import BEST_CELL, cells, write_run
from PIL import Image

from blippose.report.cells import find_cells
from blippose.report.files import PAGE, Report
from blippose.report.grid import Grid
from blippose.report.measures import MEASURES

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FAILED, CUT_OFF, LOST = (
    "batch_size=1,lr=5e-05,optimizer=adam",
    "batch_size=4,lr=5e-06,optimizer=adam",
    "batch_size=4,lr=5e-05,optimizer=adamw",
)
HOSTILE = "</script><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def folder(poster_grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a grid with a failed run, one cut off, one missing and one with a picture."""
    grid = Path(shutil.copytree(poster_grid, tmp_path_factory.mktemp("page") / "grid"))
    for name, config in cells((0,)):
        if name in (FAILED, CUT_OFF):
            shutil.rmtree(grid / name)
            write_run(grid / name, config, 4, "failed" if name == FAILED else "cut off")
    shutil.rmtree(grid / LOST)
    for run in find_cells([grid]):
        assert run.folder is not None
        Image.new("RGB", (60, 40), (200, 60, 60)).save(run.folder / "samples.png")
    record = json.loads((grid / FAILED / "run.json").read_text())
    record["traceback"] = f"{HOSTILE}\n{record['traceback']}"
    (grid / FAILED / "run.json").write_text(json.dumps(record))
    report = Report.of(Grid.of(find_cells([grid]), MEASURES["mae_all"]))
    report.write(grid, "grid", MEASURES["acc_5px"])
    return grid


class _Addresses(HTMLParser):
    """Everything in a page that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_anchor = tag == "a"
        wanted = ("src", "href", "xlink:href", "data", "action", "poster")
        self.found += [value or "" for key, value in attrs if key in wanted and not is_anchor]


def test_the_page_asks_for_nothing_outside(folder: Path) -> None:
    text = (folder / PAGE).read_text()
    parser = _Addresses()
    parser.feed(text)
    assert [a for a in parser.found if not a.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_every_command_reason_and_commit_is_on_the_page(folder: Path) -> None:
    text = (folder / PAGE).read_text()
    assert "CUDA out of memory" in text
    assert "cut off, or running elsewhere" in text
    assert "no run has these values" in text
    assert text.count("blippose train data.batch_size=") >= 17
    for cell in find_cells([folder]):
        assert cell.fact("versions")["commit"] is None or cell.fact("versions")["commit"] in text


def test_what_a_run_wrote_cannot_become_part_of_the_page(folder: Path) -> None:
    assert HOSTILE not in (folder / PAGE).read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium from the system, or playwright's own."""
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium here; make browser: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """The page, opened from its file; it may say nothing on the console and fetch nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(10_000)
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((folder / PAGE).as_uri())
    yield page
    page.close()
    assert said == []
    assert [url for url in fetched if not url.startswith("data:")] == [(folder / PAGE).as_uri()]


def column(page: Any, title: str) -> list[str]:
    """Texts of the rows that are shown."""
    titles = page.locator("#runs thead button").all_text_contents()
    cells = page.locator(f"#runs tbody tr:not([hidden]) td:nth-child({titles.index(title) + 1})")
    return [text.strip() for text in cells.all_text_contents()]


def sort(page: Any, title: str) -> list[float]:
    titles = page.locator("#runs thead button").all_text_contents()
    page.locator("#runs thead button").nth(titles.index(title)).click()
    return [float(text) for text in column(page, title) if text != "-"]


def test_sorting_goes_either_way_and_leaves_gaps_last(page: Any) -> None:
    up = sort(page, "MAE px")
    assert up == sorted(up)
    assert column(page, "MAE px")[-1] == "-"
    down = sort(page, "MAE px")
    assert down == up[::-1]
    assert column(page, "MAE px")[-1] == "-"
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_rates_are_sorted_as_numbers(page: Any) -> None:
    assert sort(page, "lr") == [5e-6] * 6 + [2e-5] * 6 + [5e-5] * 6


def test_filters_by_axis_state_and_words_work_together(page: Any) -> None:
    assert page.locator("#count").inner_text() == "18 of 18 runs"
    page.get_by_label("optimizer", exact=True).select_option("AdamW")
    assert set(column(page, "optimizer")) == {"AdamW"}
    page.get_by_label("state", exact=True).select_option("missing")
    assert page.locator("#count").inner_text() == "1 of 18 runs"
    page.get_by_role("button", name="show all").click()
    page.get_by_label("Find").fill("cuda memory")
    page.locator("#count", has_text="1 of 18 runs").wait_for()
    assert column(page, "state") == ["failed"]


def test_a_click_shows_a_runs_curves_command_and_picture(page: Any) -> None:
    page.locator("#runs tbody tr").first.click()
    assert "batch_size" in page.locator("#detail-title").inner_text()
    assert page.locator("#detail-charts polyline.chart-line").count() == 3
    assert "blippose train" in page.locator("#detail-command").inner_text()
    assert page.locator("#detail-picture img").count() == 1
    assert page.locator("#detail-other").is_hidden(), "the best run has no other beside it"
    page.locator("#detail-charts svg").first.hover()
    assert "epoch" in page.locator("#detail-charts svg").first.inner_html()
    page.get_by_role("button", name="close").click()
    assert page.locator("#detail").is_hidden()
    page.locator("#runs tbody tr").nth(1).click()
    assert page.locator("#detail-other").is_visible()


def test_the_keyboard_opens_a_run_that_failed_with_its_traceback(page: Any) -> None:
    page.get_by_label("state", exact=True).select_option("failed")
    page.locator("#runs tbody tr:not([hidden])").press("Enter")
    assert "CUDA out of memory" in page.locator("#detail-notes").inner_text()
    page.locator("#detail-traceback summary").click()
    assert HOSTILE in page.locator("#detail-traceback pre").inner_text()
    assert page.title() != "taken"


def brightness(page: Any, path: Path) -> float:
    page.screenshot(path=path)
    with Image.open(path) as image:
        return sum(image.convert("L").resize((1, 1)).tobytes())


def test_light_and_dark_follow_the_system_and_the_button(page: Any, tmp_path: Path) -> None:
    light = brightness(page, tmp_path / "light.png")
    page.emulate_media(color_scheme="dark")
    dark = brightness(page, tmp_path / "dark.png")
    page.get_by_role("button", name="Switch").click()
    again = brightness(page, tmp_path / "again.png")
    assert light > 200
    assert dark < 80
    assert again > 200


def test_a_narrow_page_does_not_scroll_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 420, "height": 800})
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]


def test_the_best_run_is_named(folder: Path) -> None:
    best = Grid.of(find_cells([folder]), MEASURES["mae_all"]).best
    assert best is not None
    assert best.name in (BEST_CELL, "batch_size=1,lr=2e-05,optimizer=adamw")
