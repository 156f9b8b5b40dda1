"""The synthetic release: MPII's own quirks, the same bytes for the same seed, joints on limbs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from scipy.io import loadmat

from blippose import mpii, readings, release_images
from blippose.errors import UserError
from blippose.pose import JOINTS
from blippose.release_source import ReleaseSource
from blippose.synthetic import Frame, background, is_complete, render_frame, write_release
from blippose.synthetic.annotation import POINT_ORDER
from blippose.synthetic.body import dress
from blippose.synthetic.figure import (
    LIMITS,
    limit,
    mirror,
    pose_skeleton,
    sample_build,
)
from blippose.synthetic.head import skull
from blippose.synthetic.mesh import ellipsoid
from blippose.synthetic.outfit import sample_outfit
from blippose.synthetic.plan import KEPT, KEPT_BESIDE_BARE, QUIRKS, Row, plan_rows
from blippose.synthetic.poses import ACTIVITIES, sample_angles
from blippose.synthetic.release import _write
from blippose.synthetic.scene import draw_mesh

NUM_PERSONS = 12
MAT = "mpii_human_pose_v1_u12_1.mat"
HEAD_IDS = (8, 9)
DATA_PAGE = Path(__file__).parents[1] / "docs" / "data.md"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "release"
    return write_release(folder, NUM_PERSONS, seed=3, num_workers=1, progress=False)


@pytest.fixture(scope="module")
def rows(root: Path) -> list[Row]:
    return plan_rows(NUM_PERSONS, 3)


@pytest.fixture(scope="module")
def release(root: Path) -> Any:
    return loadmat(root / MAT)["RELEASE"][0, 0]


def _rects(release: Any, rows: list[Row], kind: str) -> Iterator[Any]:
    for index, row in enumerate(rows):
        if row.kind == kind:
            yield release["annolist"][0, index]["annorect"]


def _points(rect: Any) -> Any:
    return rect["annopoints"][0, 0]["point"][0]


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_default_filter_keeps_exactly_num_persons(root: Path) -> None:
    kept = readings.select(mpii.read_release(root / MAT))
    assert len(kept) == NUM_PERSONS
    release_images.check_images(kept, root / "images")


def test_reader_sees_that_it_is_synthetic(root: Path) -> None:
    assert mpii.read_release(root / MAT).synthetic


def test_a_second_writing_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    again = write_release(tmp_path / "again", NUM_PERSONS, seed=3, num_workers=1, progress=False)
    assert _files(again) == _files(root)


def test_number_of_workers_does_not_show(root: Path, tmp_path: Path) -> None:
    other = write_release(tmp_path / "other", NUM_PERSONS, seed=3, num_workers=2, progress=False)
    assert _files(other) == _files(root)


def test_a_script_that_guards_no_main_draws_once(root: Path, tmp_path: Path) -> None:
    script, other = tmp_path / "script.py", tmp_path / "other"
    script.write_text(
        "from blippose.synthetic import write_release\n"
        f"print(write_release({str(other)!r}, {NUM_PERSONS}, 3, num_workers=2, progress=False))\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == f"{other}\n"
    assert _files(other) == _files(root)


def _works(pid: str) -> bool:
    """Whether the process is there, and has not just ended with nobody to ask for its status."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells of it")
def test_workers_end_when_who_draws_is_killed(tmp_path: Path) -> None:
    script = (
        "from blippose.synthetic import write_release\n"
        f"write_release({str(tmp_path / 'root')!r}, 50_000, 3, num_workers=2, progress=False)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as drawing:
        try:
            while not list((tmp_path / "root" / "images").glob("*.jpg")):
                assert drawing.poll() is None
                time.sleep(0.1)
            told = Path(f"/proc/{drawing.pid}/task/{drawing.pid}/children")
            workers = told.read_text().split()
        finally:
            drawing.kill()
    assert len(workers) >= 2
    until = time.monotonic() + 60
    while any(_works(worker) for worker in workers):
        assert time.monotonic() < until, "workers that nobody waits for"
        time.sleep(0.1)


def test_another_seed_draws_other_people() -> None:
    assert not np.array_equal(
        render_frame(0, 1, 0).people[0].xy_img, render_frame(1, 1, 0).people[0].xy_img
    )


def test_half_written_release_is_rebuilt(root: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    (half / "images").mkdir(parents=True)
    (half / "images" / "000000000.jpg").write_bytes(b"cut off")
    (half / "release.incomplete").touch()
    assert not is_complete(half, NUM_PERSONS, 3)
    write_release(half, NUM_PERSONS, seed=3, num_workers=1, progress=False)
    assert _files(half) == _files(root)


def test_complete_release_is_left_alone(root: Path) -> None:
    before = (root / MAT).stat().st_mtime_ns
    write_release(root, NUM_PERSONS, seed=3, num_workers=1, progress=False)
    assert (root / MAT).stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"num_persons": 13}, {"seed": 4}, {"generator_version": -1}])
def test_release_of_other_persons_is_not_complete_and_never_emptied(
    root: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    mark = json.loads((copy / "release.json").read_text())
    assert is_complete(copy, NUM_PERSONS, 3)
    (copy / "release.json").write_text(json.dumps(mark | change))
    before = _files(copy)
    assert not is_complete(copy, NUM_PERSONS, 3)
    with pytest.raises(UserError, match=r"copy holds .*, not 12 persons of seed 3 .*data\.root="):
        write_release(copy, NUM_PERSONS, seed=3, num_workers=1, progress=False)
    assert _files(copy) == before


def test_release_that_lost_an_image_is_drawn_again(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    next((copy / "images").iterdir()).unlink()
    assert not is_complete(copy, NUM_PERSONS, 3)
    write_release(copy, NUM_PERSONS, seed=3, num_workers=1, progress=False)
    assert _files(copy) == _files(root)


@pytest.mark.parametrize("change", [lambda mat: mat[: len(mat) // 2], lambda mat: mat + b"more"])
def test_a_drawn_mat_that_is_not_as_it_was_is_refused_with_how_to_draw_it_again(
    root: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    (copy / MAT).write_bytes(change((root / MAT).read_bytes()))
    before = _files(copy)
    assert not is_complete(copy, NUM_PERSONS, 3)
    again = rf"remove .*`blippose data .*num_persons={NUM_PERSONS} data\.synthetic\.seed=3`"
    for use in (
        lambda: write_release(copy, NUM_PERSONS, seed=3, num_workers=1, progress=False),
        ReleaseSource(str(copy)).read,
    ):
        with pytest.raises(UserError, match=again) as error:
            use()
        assert "\n" not in str(error.value)
    assert _files(copy) == before


def test_who_comes_second_waits_and_leaves_what_the_first_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "release"
    second = Thread(target=write_release, args=(folder, 1, 3, 1, False))
    with FileLock(f"{folder}.lock"):  # as one who is drawing has it
        second.start()
        second.join(0.5)
        assert not folder.exists()
        told = capsys.readouterr()
        assert told.err == f"waiting for the process that draws into {folder}\n"
        assert told.out == ""  # where `blippose data format=json` writes
        _write(folder, 1, 3, 1, progress=False)
        drawn = (folder / MAT).stat().st_mtime_ns
    second.join()
    assert (folder / MAT).stat().st_mtime_ns == drawn


def test_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="release: cannot be written"):
        write_release(tmp_path / "file" / "release", 1, progress=False)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that takes no files")
def test_folder_that_takes_no_files_is_not_waited_for() -> None:
    with pytest.raises(UserError, match="/proc/release: cannot be written"):
        write_release(Path("/proc/release"), 1, progress=False)


def test_foreign_folder_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / MAT).write_bytes(b"the real one")
    with pytest.raises(UserError, match="did not write"):
        write_release(tmp_path, 1, progress=False)
    assert _files(tmp_path) == {MAT: b"the real one"}


def test_zero_persons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one"):
        write_release(tmp_path, 0, progress=False)


@pytest.mark.parametrize("num_persons", [1, 12, 333])
def test_plan_holds_every_quirk_and_the_exact_number(num_persons: int) -> None:
    kinds = [row.kind for row in plan_rows(num_persons, 0)]
    assert set(QUIRKS) <= set(kinds)
    assert sum(kind in (KEPT, KEPT_BESIDE_BARE) for kind in kinds) == num_persons


def test_videos_have_several_frames_and_names_are_unique() -> None:
    rows = plan_rows(200, 0)
    assert len({row.name for row in rows}) == len(rows)
    assert 2 < len(rows) / len({row.video for row in rows}) < 6


def test_fields_are_those_of_mpii(release: Any) -> None:
    fields = {"annolist", "img_train", "version", "single_person", "act", "video_list"}
    assert set(release.dtype.names) == fields | {"source"}
    assert release["annolist"].dtype.names == ("image", "annorect", "frame_sec", "vididx")
    assert release["act"].dtype.names == ("cat_name", "act_name", "act_id")
    assert release["single_person"].shape == (release["annolist"].shape[1], 1)


def test_points_come_in_the_order_of_mpii(release: Any, rows: list[Row]) -> None:
    rect = next(_rects(release, rows, KEPT))
    assert tuple(int(point["id"][0, 0]) for point in _points(rect[0, 0])) == POINT_ORDER


def test_head_flags_are_empty_and_others_are_not(release: Any, rows: list[Row]) -> None:
    for rect in _rects(release, rows, "uint8 flag 0"):
        for point in _points(rect[0, 0]):
            assert (point["is_visible"].size == 0) == (int(point["id"][0, 0]) in HEAD_IDS)


def test_kept_persons_have_flags_of_1_or_none_whatever_the_picture_hides(root: Path) -> None:
    kept = readings.select(mpii.read_release(root / MAT))
    assert {flag for person in kept for flag in person.flags} == {True, None}
    for said in (write_release.__doc__, DATA_PAGE.read_text()):
        assert said is not None
        assert "is_visible` " in said
        assert "drawn at random" in " ".join(said.split())


def test_most_necks_are_fractional_and_other_joints_whole(release: Any, rows: list[Row]) -> None:
    points = [p for rect in _rects(release, rows, KEPT) for p in _points(rect[0, 0])]
    is_whole = {True: [], False: []}
    for point in points:
        is_head = int(point["id"][0, 0]) in HEAD_IDS
        is_whole[is_head].append(point["x"].dtype.kind == "u")
    assert all(is_whole[False])
    assert np.mean(is_whole[True]) < 0.5


@pytest.mark.parametrize(
    ("kind", "num_rects"),
    [
        ("two persons", 2),
        ("three persons", 3),
        ("test row, two persons", 2),
        (KEPT_BESIDE_BARE, 2),
    ],
)
def test_rows_of_several_persons(release: Any, rows: list[Row], kind: str, num_rects: int) -> None:
    assert [rect.shape for rect in _rects(release, rows, kind)] == [(1, num_rects)]


def test_the_nearer_of_two_persons_is_the_annotated_one(release: Any, rows: list[Row]) -> None:
    (rects,) = _rects(release, rows, KEPT_BESIDE_BARE)
    bare, annotated = sorted(rects[0], key=lambda rect: rect["annopoints"].size)
    assert bare["annopoints"].size == 0 < annotated["annopoints"].size
    assert bare["scale"] <= annotated["scale"]


@pytest.mark.parametrize(("kind", "flag"), [("char flag 0", "0"), ("uint8 flag 0", 0)])
def test_rows_with_a_flag_of_zero(
    release: Any, rows: list[Row], kind: str, flag: str | int
) -> None:
    (rect,) = _rects(release, rows, kind)
    flags = [point["is_visible"].ravel() for point in _points(rect[0, 0])]
    assert flag in [value[0] for value in flags if value.size]


@pytest.mark.parametrize(("kind", "most"), [("missing joints", 14), ("one missing joint", 15)])
def test_missing_joints_are_absent_points(
    release: Any, rows: list[Row], kind: str, most: int
) -> None:
    (rect,) = _rects(release, rows, kind)
    assert 8 < len(_points(rect[0, 0])) <= most


def test_a_row_without_flags_lacks_the_field(release: Any, rows: list[Row]) -> None:
    (rect,) = _rects(release, rows, "missing joints, no flags")
    assert _points(rect[0, 0]).dtype.names == ("x", "y", "id")


def test_two_persons_of_whom_one_has_all_joints(release: Any, rows: list[Row]) -> None:
    (rect,) = _rects(release, rows, "two persons, one with all joints")
    assert [len(_points(person)) for person in rect[0]] == [16, 15]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("test row", ("scale", "objpos")),
        ("head box only", ("x1", "y1", "x2", "y2")),
        ("no scale, missing joints", ("x1", "y1", "x2", "y2", "annopoints")),
    ],
)
def test_rows_whose_annorect_lacks_fields(
    release: Any, rows: list[Row], kind: str, fields: tuple[str, ...]
) -> None:
    (rect,) = _rects(release, rows, kind)
    assert rect.dtype.names == fields


def test_empty_annorect_and_empty_fields(release: Any, rows: list[Row]) -> None:
    assert next(_rects(release, rows, "empty annorect")).shape == (0, 0)
    assert next(_rects(release, rows, "empty annopoints"))[0, 0]["annopoints"].size == 0
    (rect,) = _rects(release, rows, "empty scale and objpos, missing joints")
    assert rect[0, 0]["scale"].size == rect[0, 0]["objpos"].size == 0


def test_test_rows_are_not_train_rows_and_have_no_video(release: Any, rows: list[Row]) -> None:
    for index, row in enumerate(rows):
        is_test = row.kind.startswith("test")
        assert bool(release["img_train"][0, index]) is not is_test
        assert (release["annolist"][0, index]["vididx"].size == 0) == is_test


def head_of(frame: Frame) -> tuple[float, float]:
    """Diagonal of the first person's head box, and neck to head top, both in statures."""
    [person] = frame.people
    neck, top = person.xy_img[list(HEAD_IDS)]
    low, high = person.head_box
    return float(np.hypot(*(high - low))) / person.stature, float(
        np.hypot(*(top - neck))
    ) / person.stature


def test_the_head_box_has_its_size_from_wherever_the_head_is_seen() -> None:
    heads = np.array([head_of(render_frame(0, video, 0)) for video in range(1, 100)])
    diagonal, neck_to_top = heads.T
    assert (neck_to_top < 0.08).any(), "no head seen from above, so that nothing was tried"
    assert 0.14 < diagonal.min() < diagonal.max() < 0.32
    assert np.median(neck_to_top / diagonal) == pytest.approx(0.75, abs=0.03)  # MPII: 0.8


def test_neck_to_head_top_of_one_upright_is_four_fifths_of_the_head_box() -> None:
    rng = np.random.default_rng(0)
    build, outfit = sample_build(rng), sample_outfit(rng)
    skeleton = pose_skeleton(build, {})
    extent = np.ptp(skull(skeleton, build, outfit).quads.reshape(-1, 3)[:, :2], axis=0)
    neck, top = skeleton.joints[list(HEAD_IDS), :2]
    assert np.hypot(*(top - neck)) == pytest.approx(0.8 * np.hypot(*extent), rel=0.03)


def test_the_annotated_head_box_holds_neck_and_head_top(root: Path) -> None:
    for person in readings.select(mpii.read_release(root / MAT)):
        assert person.head_box is not None
        low, high = np.reshape(person.head_box, (2, 2))
        head = person.pose.xy[list(HEAD_IDS)]
        assert (head > low - 2).all()
        assert (head < high + 2).all()


def test_a_sphere_is_drawn_where_its_centre_is() -> None:
    rng, off = np.random.default_rng(0), []
    for centre in rng.uniform(20, 80, (200, 2)):
        frame, radii = np.diag([1.0, -1.0, 1.0]), (6.0, 6.0, 6.0)
        mesh = ellipsoid(np.array([*centre, 0.0]), frame, radii, (1.0, 1.0, 1.0), 24, 15)
        canvas = Image.new("RGB", (200, 200))
        draw_mesh(canvas, replace(mesh, quads=mesh.quads[:, ::-1]), np.array([0.0, 0.0, 1.0]))
        drawn = canvas.convert("L").point(lambda value: 255 * (value > 0)).reduce(2)
        y, x = np.mgrid[:100, :100]
        weight = np.asarray(drawn, dtype=float)
        off.append([(weight * at).sum() / weight.sum() for at in (x, y)] - centre)
    assert np.abs(np.mean(off, axis=0)).max() < 0.05


def test_annotation_is_the_projected_joint_to_half_a_pixel(root: Path, rows: list[Row]) -> None:
    videos = {row.name: row for row in rows}
    for person in readings.select(mpii.read_release(root / MAT)):
        row = videos[person.image_name]
        drawn = render_frame(3, row.video, row.frame, row.num_people).people[-1]
        np.testing.assert_allclose(person.pose.xy, drawn.xy_img, atol=0.51)


@pytest.mark.parametrize("video", range(12))
def test_joints_lie_inside_the_image(video: int) -> None:
    frame = render_frame(0, video, 0)
    height, width, _ = frame.image.shape
    xy_img = frame.people[0].xy_img
    assert (xy_img >= 0).all()
    assert (xy_img <= [width, height]).all()


@pytest.mark.parametrize("seed", range(10))
def test_every_joint_lies_on_drawn_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    build, outfit = sample_build(rng), sample_outfit(rng)
    angles = sample_angles(ACTIVITIES[seed], rng)
    skeleton = pose_skeleton(build, angles, yaw=float(rng.uniform(-180, 180)))
    to_pixels, shift = np.array([200.0, -200.0, 200.0]), np.array([250.0, 250.0, 0.0])
    mesh = dress(skeleton, build, outfit).moved(to_pixels, shift)
    canvas = Image.new("RGB", (1000, 1000), (0, 255, 0))
    draw_mesh(canvas, mesh, np.array([0.0, 0.6, 0.8]))
    drawn = (np.asarray(canvas.reduce(2)) != (0, 255, 0)).any(axis=2)
    x, y, _ = np.round(skeleton.joints * to_pixels + shift).astype(int).T
    y[JOINTS.index("head top")] += 2  # the joint is the very rim of the skull
    near = [drawn[b - 2 : b + 3, a - 2 : a + 3].any() for a, b in zip(x, y, strict=True)]
    assert all(near), [JOINTS[j] for j in range(16) if not near[j]]
    assert 0.01 < drawn.mean() < 0.5


@pytest.mark.parametrize(("yaw", "right_is_left"), [(0.0, True), (180.0, False)])
def test_right_shoulder_of_one_who_faces_the_camera_is_at_smaller_x(
    yaw: float, right_is_left: bool
) -> None:
    skeleton = pose_skeleton(sample_build(np.random.default_rng(0)), {}, yaw)
    right, left = (
        skeleton.joints[JOINTS.index(f"{side} shoulder"), 0] for side in ("right", "left")
    )
    assert (right < left) == right_is_left


def test_knees_bend_backwards_and_elbows_forwards() -> None:
    build = sample_build(np.random.default_rng(0))
    joints = pose_skeleton(build, {"left knee": 60.0, "left elbow": 60.0}).joints
    z = dict(zip(JOINTS, joints[:, 2], strict=True))
    assert z["left ankle"] < z["left knee"] - 0.05
    assert z["left wrist"] > z["left elbow"] + 0.05


def test_mirrored_pose_is_the_reflected_skeleton() -> None:
    rng = np.random.default_rng(5)
    build, angles = sample_build(rng), limit({name: float(rng.normal(0, 30)) for name in LIMITS})
    joints = pose_skeleton(build, angles).joints
    mirrored = pose_skeleton(build, mirror(angles)).joints
    for index, name in enumerate(JOINTS):
        other = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
        np.testing.assert_allclose(
            mirrored[JOINTS.index(other)], joints[index] * [-1, 1, 1], atol=1e-9
        )


def test_poses_keep_to_the_joint_limits() -> None:
    rng = np.random.default_rng(0)
    for activity in ACTIVITIES:
        for name, angle in sample_angles(activity, rng).items():
            low, high = LIMITS[name]
            assert low <= angle <= high


def test_frames_of_one_video_share_their_size_and_differ() -> None:
    first, second = render_frame(0, 7, 0), render_frame(0, 7, 1)
    assert first.image.shape == second.image.shape
    assert not np.array_equal(first.image, second.image)
    assert np.abs(first.people[0].xy_img - second.people[0].xy_img).max() > 0.5


def test_a_wall_of_more_bricks_leaves_what_stands_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The floor is where the feet of one frame are: the scene's colours must not follow it."""
    chosen: list[tuple[int, int, int]] = []
    of_background = background._any_colour

    def noted(rng: np.random.Generator) -> tuple[int, int, int]:
        chosen.append(of_background(rng))
        return chosen[-1]

    monkeypatch.setattr(background, "_any_colour", noted)
    for seed in range(40):
        found = []
        for floor in (100.0, 130.0, 170.0):
            chosen.clear()
            scene_rng = np.random.default_rng(seed)
            background.draw_background((320, 180), scene_rng, np.random.default_rng(0), floor)
            found.append((tuple(chosen), scene_rng.random()))
        assert len(set(found)) == 1
