"""The occlusion study: who is looked at, what differs, that it goes on, and what it says.

The models here are tiny real functions from pixels to poses, of which it is known what a disc does
to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_persons import IMAGE, SIZE, make_targets, with_gaps
from numpy.typing import NDArray

from blippose.errors import UserError
from blippose.evaluation.figures import subtitle_of
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.occlusion.answers import (
    Occluded,
    inputs,
    looks,
    stored_answers,
)
from blippose.evaluation.occlusion.effects import Effects, figures
from blippose.evaluation.occlusion.example import chosen_example
from blippose.evaluation.occlusion.findings import findings
from blippose.evaluation.occlusion.number_attention import captions_with_attention
from blippose.evaluation.occlusion.pages import about_lines, markdown
from blippose.evaluation.occlusion.plan import Plan, Settings, chosen_persons, planned
from blippose.evaluation.occlusion.study import study
from blippose.evaluation.targets import Targets
from blippose.geometry import Crop
from blippose.model import PoseCaptioner
from blippose.occlusion import Picture
from blippose.pose import JOINTS

Image = NDArray[np.uint8]
ABOUT = {
    "run": "runs/one",
    "source": "best.ckpt",
    "state": "done",
    "subset": "val",
    "synthetic": True,
    "split": "video",
    "decoding": "free",
    "own_decoding": "constrained",
}
FILE = {"checkpoint_sha256": "0", "manifest": "0"}
OFF = 7.0  # px
MEAN_POSE = np.full((16, 2), SIZE / 2)


def plan_of(targets: Targets, **settings: Any) -> Plan:
    picture = Picture.of(Crop(0.0, 0.0, *IMAGE, SIZE), *map(int, IMAGE))
    settings = {"radius": (1.0, 0.5), "fill": "black", **settings}
    return planned(targets, (picture,) * len(targets), Settings(**settings))


class Looker:
    """Says the truth of each joint whose pixel is white, and `OFF` px to its right of the others.

    A person's images are white but for the top left pixels, which say in white and grey who it is.
    """

    def __init__(self, targets: Targets, silent: bool = False) -> None:
        self.targets, self.silent, self.batches = targets, silent, 0

    def image(self, position: int) -> Image:
        image = np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
        image[0, 0, 0] = position
        return image

    def __call__(self, images: Image) -> NDArray[np.float64]:
        self.batches += 1
        return np.stack([self.pose(image) for image in images])

    def pose(self, image: Image) -> NDArray[np.float64]:
        xy = self.targets.xy_input[image[0, 0, 0]]
        column, row = np.nan_to_num(xy).round().astype(int).clip(0, SIZE - 1).T
        hidden = image[row, column, 2] == 0
        off = np.where(hidden[:, None], np.nan if self.silent else [OFF, 0.0], 0.0)
        return np.asarray(xy + off)


def ask(
    looker: Looker, plan: Plan, path: Path, batch_size: int = 32
) -> tuple[Occluded | None, bool]:
    return stored_answers(
        path, {}, plan, MEAN_POSE, looker.image, looker, batch_size, progress=False
    )


@pytest.fixture
def targets() -> Targets:
    """Persons inside the picture, heads of 3 to 8 input px."""
    return make_targets(12)


@pytest.fixture
def answers(targets: Targets, tmp_path: Path) -> Occluded:
    found, _ = ask(Looker(targets), plan_of(targets), tmp_path / "occlusion.npz")
    assert found is not None
    return found


def _shaken(answers: Occluded) -> Occluded:
    """Discs cost each joint of each person something else."""
    cost = np.random.default_rng(0).exponential(20, answers.hidden.shape[:4])[..., None, None]
    return replace(answers, hidden=answers.hidden + cost)


def effects_of(answers: Occluded) -> Effects:
    groups = answers.plan.targets.video
    return Effects(answers, Bootstrap.of(groups, 200, 0))


def test_a_joint_that_is_seen_only_where_it_is_costs_the_disc_over_it_alone(
    answers: Occluded,
) -> None:
    report = study(answers, ABOUT, 200, 0)
    own = report["all"]["own"]
    assert own["clean"]["value"] == own["on body"]["value"] == own["off body"]["value"] == 0
    for name in ("hidden", "hidden - clean", "hidden - on body", "hidden - off body"):
        assert own[name] == {"value": OFF, "low": OFF, "high": OFF}
    assert report["all"]["num"] > 100


def test_others_are_those_that_no_disc_covers(answers: Occluded) -> None:
    """This model errs at every joint under a disc, so that an error would be a covered joint."""
    others = study(answers, ABOUT, 200, 0)["all"]["others"]
    assert [others[name]["value"] for name in ("clean", "hidden", "on body")] == [0, 0, 0]


def test_the_matrix_is_the_discs_own_cover_for_such_a_model(answers: Occluded) -> None:
    """What the disc over a joint adds to another is OFF in the images in which it covers it."""
    effects = effects_of(answers)
    added, covered = effects.matrix().value, effects.covered_share()
    assert np.diag(added) == pytest.approx(OFF)
    assert np.diag(covered) == pytest.approx(1)
    assert (added / OFF <= covered + 1e-9).all()  # it counts joints on the rim as covered
    assert added / OFF == pytest.approx(covered, abs=0.35)
    assert np.abs(added / OFF - covered).mean() < 0.05


def test_points_of_the_curve_are_of_the_same_joints_hidden_and_others(
    targets: Targets, tmp_path: Path
) -> None:
    """Joints err by as many px as their id says: with other joints the mean would be another."""

    class ById(Looker):
        def pose(self, image: Image) -> NDArray[np.float64]:
            return super().pose(image) + np.array([[joint, 0.0] for joint in range(16)])

    plan = plan_of(targets, radius=(1.0, 0.25, 1.5))
    found, _ = ask(ById(targets), plan, tmp_path / "occlusion.npz")
    assert found is not None
    report = study(found, ABOUT, 50, 0)
    for key, num in (("own", "num"), ("others", "num_others")):
        assert len({point[key]["clean"]["value"] for point in report["curve"]}) == 1
        assert len({point[num] for point in report["curve"]}) == 1
        assert report["curve"][0][num] > 0
    effects, joints = effects_of(found), report["joints"]
    num_clear = effects.clear_others(0, effects.complete(0)).sum()
    assert report["all"]["num_others"] == num_clear
    assert sum(joints[name]["num_others"] for name in JOINTS) == num_clear
    assert report["curve"][0]["num_others"] < num_clear


def test_images_of_one_video_have_no_intervals_and_nothing_is_counted(tmp_path: Path) -> None:
    alone = make_targets(3, video=np.zeros(3, dtype=np.int64))
    found, _ = ask(Looker(alone), plan_of(alone), tmp_path / "occlusion.npz")
    assert found is not None
    report = study(found, ABOUT, 50, 0)
    said = " ".join(findings(report))
    assert f": +{OFF:.2f}." in said
    assert "nan" not in said
    assert "excludes 0" not in said
    assert "is not shown: +7.00 px." in said
    assert "no intervals: 1 video cannot be resampled" in about_lines(report)
    assert any("All images are of one video" in each for each in report["limits"])
    assert subtitle_of(report["about"]).endswith(", no intervals")
    page = markdown({**report, "about": {**report["about"], **FILE}, "example": "a"}, {})
    assert "nan" not in page


def test_an_interval_of_images_without_a_video_counts_them(targets: Targets) -> None:
    some = make_targets(12, video=np.array([0, 0, 1, 1, *[-1] * 8]))
    silent = np.full((12, 16, 2), np.nan)
    hidden = np.full((*plan_of(some).asked.shape, 16, 2), np.nan)
    report = study(Occluded(plan_of(some), MEAN_POSE, silent, hidden), ABOUT, 50, 0)
    said = " ".join(about_lines(report))
    assert "resamples of the 2 videos and 8 images of no known video" in said


def test_a_model_that_says_no_joint_is_said_to_and_nothing_else(answers: Occluded) -> None:
    silent = replace(answers, clean=np.full_like(answers.clean, np.nan))
    [said] = findings(study(silent, ABOUT, 50, 0))
    assert "With nothing hidden no joint parsed" in said
    assert "decoding: free; the model's own is constrained" in said


@pytest.mark.parametrize(("num_silent", "is_first"), [(0, False), (1, True)])
def test_few_joints_that_parse_come_first(
    answers: Occluded, num_silent: int, is_first: bool
) -> None:
    clean = answers.clean.copy()
    clean[:, :num_silent] = np.nan
    first = findings(study(replace(answers, clean=clean), ABOUT, 50, 0))[0]
    assert ("only 93.8% of the joints parsed" in first) == is_first


def test_joints_that_lose_the_same_are_not_ranked(answers: Occluded) -> None:
    tied = replace(
        answers,
        clean=np.zeros_like(answers.clean),
        hidden=np.where(np.isfinite(answers.hidden), 0.0, np.nan),
    )
    assert "Most is lost" in " ".join(findings(study(_shaken(answers), ABOUT, 50, 0)))
    assert "Most is lost" not in " ".join(findings(study(tied, ABOUT, 50, 0)))


def test_the_joints_that_lose_most_and_least_are_named_so(answers: Occluded) -> None:
    report = study(_shaken(answers), ABOUT, 50, 0)
    lost = {name: of["own"]["hidden - clean"]["value"] for name, of in report["joints"].items()}
    ranked = sorted(lost, key=lambda name: -lost[name])
    [said] = [each for each in report["findings"] if each.startswith("Most is lost")]
    assert said.startswith(f"Most is lost of {ranked[0]} +")
    assert f"; least of {ranked[-3]} +" in said


@pytest.mark.parametrize(
    ("is_silent", "said"),
    [
        (False, "the model infers it from the rest"),
        (True, "still nearer than the mean training pose is not shown"),
    ],
)
def test_a_hidden_joint_is_inferred_only_where_it_is_nearer_than_the_mean_pose(
    targets: Targets, tmp_path: Path, is_silent: bool, said: str
) -> None:
    looker = Looker(targets, silent=is_silent)
    found, _ = ask(looker, plan_of(targets), tmp_path / "occlusion.npz")
    assert found is not None
    assert said in " ".join(findings(study(found, ABOUT, 200, 0)))


@pytest.mark.parametrize(
    ("other", "said", "is_said"),
    [
        ({}, "chosen by its score on the validation images", True),
        ({"subset": "test"}, "chosen by its score", False),
        ({"state": "running"}, "The run is running: its model may still change", True),
        ({"synthetic": False}, "The people are drawn", False),
    ],
)
def test_limits_are_those_of_what_was_studied(
    answers: Occluded, other: dict[str, Any], said: str, is_said: bool
) -> None:
    report = study(answers, {**ABOUT, **other}, 50, 0)
    assert (said in " ".join(report["limits"])) == is_said


def test_a_radius_without_room_for_controls_is_refused(targets: Targets) -> None:
    with pytest.raises(UserError, match=r"^radius=50: no disc .* in 12 images; name a smaller"):
        plan_of(targets, radius=(50.0, 1.0)).check_compared()
    plan_of(targets).check_compared()


def test_pictures_say_how_the_model_was_asked(answers: Occluded) -> None:
    about = study(answers, ABOUT, 50, 0)["about"]
    assert ", decoding: free, not the model's own, 95% intervals" in subtitle_of(about)
    own = {**about, "own_decoding": "free"}
    assert ", decoding: free, 95% intervals" in subtitle_of(own)


def test_differences_are_paired(targets: Targets, tmp_path: Path) -> None:
    """Persons err by up to 30 px, the disc adds 7 to each: the difference is certain."""

    class Unequal(Looker):
        def pose(self, image: Image) -> NDArray[np.float64]:
            return super().pose(image) + np.array([2.5 * float(image[0, 0, 0]), 0.0])

    found, _ = ask(Unequal(targets), plan_of(targets), tmp_path / "occlusion.npz")
    assert found is not None
    own = study(found, ABOUT, 200, 0)["all"]["own"]
    assert own["clean"]["high"] - own["clean"]["low"] > 5
    assert own["hidden - clean"]["low"] == pytest.approx(OFF)
    assert own["hidden - clean"]["high"] == pytest.approx(OFF)


def test_silence_counts_as_the_mean_pose(targets: Targets, tmp_path: Path) -> None:
    found, _ = ask(Looker(targets, silent=True), plan_of(targets), tmp_path / "occlusion.npz")
    assert found is not None
    effects = effects_of(found)
    own = figures(effects.pooled(0, effects.complete(0)[..., None] & np.eye(16, dtype=bool)))
    assert own["hidden"]["value"] == pytest.approx(own["mean pose"]["value"])
    assert own["hidden"]["value"] > 10
    parsed = effects.parsed(0)
    assert parsed["clean"] == 1.0
    assert parsed["hidden"] < 15.5 / 16
    assert parsed["off body"] == 1.0


def test_discs_hide_the_same_number_of_pixels(targets: Targets) -> None:
    plan = plan_of(targets)
    black = np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
    every = looks(plan)
    for person, where in every[:: len(every) // 60]:
        if where is None:
            continue
        radius, joint, _ = where
        images = inputs(plan, lambda _: black, [(person, (radius, joint, p)) for p in range(3)])
        asked = plan.asked[person, radius, joint]
        hidden = [(image == 0).all(axis=-1).sum() for image in images[asked]]
        assert set(hidden) == {plan.area[person, radius, joint]}


def test_a_second_radius_hides_some_joints_of_each_image_and_all_in_turn(targets: Targets) -> None:
    asked = plan_of(targets, curve_joints=4).asked[..., 0]
    assert (asked[:, 0].sum(axis=1) == 16).all()
    assert (asked[:, 1].sum(axis=1) == 4).all()
    assert asked[:4, 1].any(axis=0).all()


def test_joints_that_are_not_annotated_or_not_shown_are_not_hidden(targets: Targets) -> None:
    gaps = with_gaps(targets)
    outside = gaps.xy_input.copy()
    outside[:, 9, 1] = -3.0  # a head top above the image, as in MPII
    plan = plan_of(Targets(**{**vars(gaps), "xy_input": outside}))
    assert not plan.asked[:, :, 9].any()
    assert (plan.asked[:, 0, :9, 0] == gaps.valid[:, :9]).all()


def test_figures_do_not_depend_on_joints_that_are_not_annotated(
    targets: Targets, tmp_path: Path
) -> None:
    gaps = Targets(**{**vars(with_gaps(targets)), "head_size": targets.head_size})
    found, _ = ask(Looker(gaps), plan_of(gaps), tmp_path / "occlusion.npz")
    assert found is not None
    report = study(found, ABOUT, 200, 0)
    assert report["all"]["own"]["hidden"]["value"] == OFF
    assert report["all"]["others"]["hidden"]["value"] == 0
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("torn", [0, 40])
def test_work_that_was_cut_off_goes_on_to_the_same_numbers(
    targets: Targets, answers: Occluded, tmp_path: Path, torn: int
) -> None:
    plan, path = plan_of(targets), tmp_path / "again" / "occlusion.npz"

    class Killed(Looker):
        def __call__(self, images: Image) -> NDArray[np.float64]:
            if self.batches == 5:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        ask(Killed(targets), plan, path)
    assert not path.exists()
    (part,) = path.parent.glob(".occlusion.part-*.jsonl")
    if torn:  # as if killed within a line
        part.write_text(part.read_text()[:-torn])
    looker = Looker(targets)
    found, was_stored = ask(looker, plan, path)
    num_batches = -(-len(looks(plan)) // 32)
    assert looker.batches == num_batches - (4 if torn else 5)
    assert found is not None
    assert not was_stored
    assert study(found, ABOUT, 50, 0) == study(answers, ABOUT, 50, 0)
    assert [each.name for each in path.parent.iterdir()] == ["occlusion.npz"]


def test_the_second_time_nothing_is_asked(targets: Targets, tmp_path: Path) -> None:
    path = tmp_path / "occlusion.npz"
    first, _ = ask(Looker(targets), plan_of(targets), path)
    looker = Looker(targets)
    second, was_stored = ask(looker, plan_of(targets), path)
    assert was_stored
    assert looker.batches == 0
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.hidden, second.hidden)


@pytest.mark.parametrize(
    "settings", [{"fill": "noise"}, {"seed": 1}, {"radius": (1.0, 0.75)}, {"curve_joints": 2}]
)
def test_other_settings_are_asked_anew(
    targets: Targets, tmp_path: Path, settings: dict[str, Any]
) -> None:
    path = tmp_path / "occlusion.npz"
    ask(Looker(targets), plan_of(targets), path)
    assert not ask(Looker(targets), plan_of(targets, **settings), path)[1]


def test_a_torn_file_is_asked_anew(targets: Targets, tmp_path: Path) -> None:
    path = tmp_path / "occlusion.npz"
    ask(Looker(targets), plan_of(targets), path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert not ask(Looker(targets), plan_of(targets), path)[1]


def test_arrays_have_named_axes(targets: Targets, tmp_path: Path) -> None:
    path = tmp_path / "occlusion.npz"
    ask(Looker(targets), plan_of(targets), path)
    with np.load(path) as kept:
        axes = json.loads(str(kept["axes"]))
        assert set(kept.files) == {*axes, "axes", "key"}
        lengths: dict[str, int] = {}
        for name, of in axes.items():
            assert kept[name].ndim == len(of), name
            for axis, length in zip(of, kept[name].shape, strict=True):
                assert lengths.setdefault(axis, length) == length
        assert kept["joint"].tolist() == list(JOINTS)


def test_images_come_from_as_many_videos_as_there_are() -> None:
    targets = make_targets(40)  # ten videos of four
    chosen = chosen_persons(targets, 10, seed=0)
    assert chosen == sorted(chosen)
    assert len(set(targets.video[chosen].tolist())) == 10
    assert chosen_persons(targets, 10, seed=0) == chosen
    assert chosen_persons(targets, 10, seed=1) != chosen
    assert chosen_persons(targets, 99, seed=0) == list(range(40))


def test_persons_without_a_head_box_are_not_looked_at() -> None:
    targets = make_targets(8)
    headless = Targets(**{**vars(targets), "head_size": np.where(np.arange(8) < 3, 0.0, 20.0)})
    assert chosen_persons(headless, 8, seed=0) == [3, 4, 5, 6, 7]


def test_findings_do_not_claim_what_the_interval_does_not_show(answers: Occluded) -> None:
    said = " ".join(findings(study(answers, ABOUT, 200, 0)))
    assert "the model uses what is to be seen at the joint" in said
    nothing = replace(answers, hidden=np.where(np.isfinite(answers.hidden), 0.0, np.nan))
    clean = np.zeros_like(answers.clean)
    said = " ".join(findings(study(replace(nothing, clean=clean), ABOUT, 200, 0)))
    assert "is not shown: +0.00" in said
    assert "the model uses what" not in said
    assert "infers" not in said
    assert "cannot be said" in said


def test_the_example_is_the_median_of_what_discs_cost(answers: Occluded) -> None:
    shaken = _shaken(answers)
    hidden = shaken.hidden
    chosen = chosen_example(shaken)
    among = answers.plan.asked[:, 0, :, :2].all(axis=-1)
    for place in range(2):  # over the joint, and elsewhere on the body
        away = np.linalg.norm(
            hidden[:, 0, :, place] - answers.plan.targets.xy_input[:, None], axis=-1
        )  # (N, 16, 16)
        added = away[:, np.arange(16), np.arange(16)]  # the clean error is 0
        assert (added[among] <= added[chosen]).mean() == pytest.approx(0.5, abs=0.1)


def test_an_image_or_a_joint_can_be_named_for_the_example(answers: Occluded) -> None:
    name = answers.plan.targets.image_names[3]
    person, joint = chosen_example(answers, name, "left wrist")
    assert (person, joint) == (3, JOINTS.index("left wrist"))


def test_attention_is_of_the_passes_that_write_the_joints_numbers(
    make_captioner: Callable[..., PoseCaptioner],
) -> None:
    """A fake decoder: the pass at place t looks at patch t % 16 alone."""
    import torch  # noqa: PLC0415

    captioner = make_captioner()
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    tokenizer, caption_format = captioner.tokenizer, captioner.caption_format
    text = caption_format.encode(np.full((16, 2), 9.0))
    tokens = torch.tensor([tokenizer(text).input_ids] * 2)
    written = captioner.readback.numbers[tokens[0]].nonzero().squeeze(1).tolist()
    tokens[1, written[4]] = tokenizer.sep_token_id  # an answer cut before that
    looks = torch.nn.functional.one_hot(torch.arange(tokens.shape[1]) % 16, 16).float()
    looks = torch.nn.functional.pad(looks, (1, 0)).expand(2, 2, -1, -1)  # (B, H, T, 1 + P)
    own = torch.eye(tokens.shape[1]).expand(2, 2, -1, -1)  # (B, H, T, T)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blippose.attention.maps.free_tokens", lambda *_: tokens)
        patch.setattr(
            captioner.blip.text_decoder,
            "forward",
            lambda **_: type("Output", (), {"attentions": (own,), "cross_attentions": (looks,)}),
        )
        captions, maps = captions_with_attention(captioner, images, joint=2)
    expected = {(place - 1) % 16 for place in written[4:6]}
    assert set(np.flatnonzero(maps[0])) == expected
    assert maps[0].sum() == pytest.approx(1)
    assert np.isnan(maps[1]).all()
    assert captions[0].startswith("right ankle")
