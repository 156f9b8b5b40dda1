"""blippose.evaluation.trust_report: what it holds, and the evaluation that it must see through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_persons import SIZE as INPUT
from example_persons import answers, copies, make_targets
from PIL import Image
from torch import nn

from blippose import mpii, readings
from blippose.caption import CaptionFormat
from blippose.data import Collator, PoseDataset
from blippose.data.cutter import Cutter
from blippose.decoding import InputFrame
from blippose.evaluation.facts import interval_line
from blippose.evaluation.intervals import Bootstrap
from blippose.evaluation.leaks import Leaks, leaks_between
from blippose.evaluation.predictions import (
    blank_answers,
    image_features,
    predict,
    shuffled_answers,
)
from blippose.evaluation.scores import JOINT_NAMES, NAMES, Scores
from blippose.evaluation.stored_predictions import PredictionRow, StoredPredictions, joints
from blippose.evaluation.targets import Answers, Targets
from blippose.evaluation.trust_report import About, Evidence, trust_report
from blippose.geometry import Resize
from blippose.loss import HardTokens, caption_loss
from blippose.model import PoseCaptioner
from blippose.pose import JOINTS

ABOUT: About = {
    "source": "runs/demo/best.ckpt",
    "run": "runs/demo",
    "epoch": 3,
    "subset": "test",
    "split": "video",
    "manifest": "a" * 64,
    "synthetic": False,
    "frame": {"input_size": INPUT, "num_bins": None, "resize": "stretch", "crop": "full"},
    "decoding": "free",
    "versions": {},
}
FORMAT = CaptionFormat(INPUT)


def stored(targets: Targets, free: Answers, forced: Answers) -> StoredPredictions:
    """Both ways of answering, as a model's captions would have said them."""
    rows = []
    for i in range(len(targets)):
        caption = FORMAT.encode(free.xy_input[i])
        parsed = FORMAT.decode(caption)
        forced_caption = FORMAT.encode(forced.xy_input[i])
        rows.append(
            PredictionRow(
                image=targets.image_names[i],
                index=i,
                video=int(targets.video[i]),
                caption=caption,
                truncated=False,
                reasons=tuple(None if r is None else str(r) for r in parsed.reasons),
                xy_input=joints(parsed.pose.xy),
                xy_img=joints(parsed.pose.xy),
                confidence=tuple((0.75 * parsed.pose.valid).tolist()),
                teacher_forced_caption=forced_caption,
                teacher_forced_xy_input=joints(FORMAT.decode(forced_caption).pose.xy),
                teacher_forced_all_looks_xy_input=None,
                coordinate_tokens=(8, 32),
                all_tokens=(105, 130),
            )
        )
    return StoredPredictions(InputFrame(INPUT, None, "stretch", "full"), tuple(rows))


def no_leaks(num: int) -> Leaks:
    none = np.zeros(num, dtype=bool)
    return Leaks(
        none, none.copy(), none.copy(), pairs=(), threshold=10, num_unknown=0, num_train_unknown=0
    )


def localiser(num: int = 128, **replaced: Any) -> Evidence:
    """A model that localises, judged as it should be; keywords replace parts."""
    targets = make_targets(num)
    said = answers(targets, sigma=2.5)
    wrong = Answers("shuffled images", "control", np.roll(said.xy_input, 4, axis=0))
    train = make_targets(80, seed=1)
    parts: dict[str, Any] = {
        "about": ABOUT,
        "targets": targets,
        "predictions": stored(targets, said, answers(targets, sigma=2.5, seed=1)),
        "train": train,
        "caption_format": FORMAT,
        "leaks": no_leaks(num),
        "controls": (wrong,),
        "features": (np.eye(80), np.eye(num, 80)),
        "train_answers": (train, answers(train, sigma=1.0)),
        **replaced,
    }
    return Evidence(**parts)


def test_a_localiser_judged_as_it_should_be_gets_no_warning() -> None:
    assert trust_report(localiser(), samples=100)["warnings"] == []


@pytest.mark.parametrize("is_in_all_looks", [False, True])
def test_free_running_is_held_against_the_truth_shown_in_as_many_looks(
    is_in_all_looks: bool,
) -> None:
    """A model that knows the pose beside the truth, in all of its looks or in one."""
    honest = localiser()
    rows = tuple(
        replace(
            row,
            teacher_forced_xy_input=row.xy_input if is_in_all_looks else joints(truth),
            teacher_forced_all_looks_xy_input=joints(truth) if is_in_all_looks else row.xy_input,
        )
        for row, truth in zip(honest.predictions.rows, honest.targets.xy_input, strict=True)
    )
    predictions = replace(honest.predictions, rows=rows)
    report = trust_report(replace(honest, predictions=predictions), samples=100)
    kinds = [warning["kind"] for warning in report["warnings"]]
    assert kinds.count("teacher forcing") == is_in_all_looks
    gap = report["diagnostics"]["truth_gap"]["acc_1px"]
    assert (gap["low"] > 0.5) == is_in_all_looks
    value = {row["name"]: row["metrics"]["acc_1px"]["value"] for row in report["rows"]}
    two = value["model, teacher-forced"], value["model, teacher-forced, one look"]
    assert two == (
        (1.0, value["model, free-running"])
        if is_in_all_looks
        else (value["model, free-running"], 1.0)
    )


def test_what_is_wrong_with_the_answers_is_said_in_the_report() -> None:
    targets = make_targets(128)
    silent = answers(targets, sigma=2.5, missing=0.1)
    copied = copies(targets, right=0.81, far=15.0)
    for evidence, kind in (
        (localiser(24), "few units"),
        (localiser(predictions=stored(targets, silent, silent)), "unparsed joints"),
        (
            localiser(predictions=stored(targets, copied, copied)),
            "copied answers, model, free-running",
        ),
    ):
        kinds = [warning["kind"] for warning in trust_report(evidence, samples=100)["warnings"]]
        assert kind in kinds


def test_report_is_json_and_the_same_again() -> None:
    first, again = (json.dumps(trust_report(localiser(24), samples=50)) for _ in range(2))
    assert first == again
    assert json.dumps(trust_report(localiser(24), samples=50, seed=1)) != first


def test_every_row_has_every_metric_within_its_interval() -> None:
    report = trust_report(localiser(), samples=100)
    assert [(row["name"], row["kind"]) for row in report["rows"]] == [
        ("model, free-running", "model"),
        ("model, teacher-forced", "model"),
        ("mean pose of training", "baseline"),
        ("median pose of training", "baseline"),
        ("random training pose", "baseline"),
        ("nearest neighbour by image features", "baseline"),
        ("shuffled images", "control"),
        ("whole pixels of the image", "ceiling"),
        ("resize: whole pixels of the input", "ceiling"),
        ("caption format (quantisation)", "ceiling"),
    ]
    for row in report["rows"]:
        assert tuple(row["metrics"]) == NAMES
        assert all(cell["low"] <= cell["high"] for cell in row["metrics"].values())
    assert set(report["groups"]) == {row["name"] for row in report["rows"]}


def test_intervals_are_of_videos_everywhere() -> None:
    """Of images they would be narrower, as frames of a video resemble each other."""
    evidence = localiser(64, leaks=some_leaks(64))
    report = trust_report(evidence, samples=200, seed=5)
    mean_pose = np.nanmean(evidence.train.xy_input, axis=0)
    scores = Scores.of(evidence.targets, evidence.predictions.free(), mean_pose)
    kept = ~evidence.leaks.shared_video
    for cell, some in (
        (report["rows"][0]["metrics"]["mae"], np.ones(64, dtype=bool)),
        (report["leaks"]["rows"][0]["metrics"]["mae"], kept),
    ):
        draws = Bootstrap.of(evidence.targets.video[some], 200, seed=5)
        expected = scores.where(some).metric("mae", draws).interval()
        assert cell == pytest.approx(expected.as_dict(), abs=1e-12)
        images = Bootstrap.of(np.arange(int(some.sum())), 200, seed=5)
        assert scores.where(some).metric("mae", images).interval().low != cell["low"]
    joints = report["per_joint"]["model, free-running"]["left wrist"]["epe"]
    whole = Bootstrap.of(evidence.targets.video, 200, seed=5)
    assert joints == pytest.approx(scores.per_joint(whole)["left wrist"]["epe"], abs=1e-12)


def some_leaks(num: int) -> Leaks:
    leaks = no_leaks(num)
    leaks.shared_video[: num // 4] = True
    return leaks


def test_training_and_judged_persons_are_drawn_apart() -> None:
    """They are other persons: the same draws would make their difference look surer or less so."""
    train, said = make_targets(64, seed=1), answers(make_targets(64, seed=1), sigma=2.5, seed=9)
    gap = trust_report(localiser(64, train_answers=(train, said)), samples=200)["diagnostics"]
    mean_pose = np.nanmean(make_targets(80, seed=1).xy_input, axis=0)
    expected = Scores.of(train, said, mean_pose).metric("mae", Bootstrap.of(train.video, 200, 1))
    assert gap["train_gap"]["train"]["mae"] == pytest.approx(expected.interval().as_dict())


def test_images_of_no_known_video_are_drawn_beside_the_videos_and_said_to_be() -> None:
    video = np.arange(24) // 4
    video[4:24] = -1
    about = trust_report(localiser(24, targets=make_targets(24, video=video)), samples=20)["about"]
    assert (about["num_videos"], about["num_without_video"]) == (1, 20)
    assert "of the 1 video and 20 images of no known video" in interval_line(about)


@pytest.mark.filterwarnings("error")
def test_a_joint_that_nobody_in_training_has_is_left_out_without_a_warning() -> None:
    train = make_targets(80, seed=1)
    train.valid[:, 3] = False
    train.xy_input[:, 3] = np.nan
    report = trust_report(localiser(24, train=train), samples=20)
    mean = next(row for row in report["rows"] if row["name"] == "mean pose of training")
    assert mean["metrics"]["parse_rate"]["value"] == 15 / 16


def test_weights_that_training_began_from_are_said() -> None:
    about = {**ABOUT, "earlier_manifests": ["c" * 64, None]}
    (warning,) = trust_report(localiser(about=about), samples=100)["warnings"]
    assert warning["kind"] == "earlier training"
    assert "cccccccccccc, unknown" in warning["text"]


def test_joint_by_joint_are_the_models_rows_and_the_mean_pose() -> None:
    per_joint = trust_report(localiser(24), samples=20)["per_joint"]
    assert list(per_joint) == [
        "model, free-running",
        "model, teacher-forced",
        "mean pose of training",
    ]
    for table in per_joint.values():
        assert tuple(table) == JOINTS
        assert tuple(table["pelvis"]) == JOINT_NAMES


def test_about_says_how_many_and_of_what_the_intervals_are() -> None:
    about = trust_report(localiser(24), samples=20, seed=3)["about"]
    assert (about["num_images"], about["num_videos"], about["num_train"]) == (24, 6, 80)
    assert about["interval"] == {"level": 0.95, "unit": "video", "samples": 20, "seed": 3}
    targets = make_targets(24, video=np.full(24, -1))
    about = trust_report(localiser(24, targets=targets), samples=20)["about"]
    assert (about["num_videos"], about["interval"]["unit"]) == (None, "image")


def test_captions_and_tokens_are_counted() -> None:
    targets = make_targets(24)
    said = answers(targets, missing=0.2)
    evidence = localiser(24, predictions=stored(targets, said, said))
    report = trust_report(evidence, samples=20)
    missing = float(np.isnan(said.xy_input[..., 0]).mean())
    assert report["captions"]["absent"]["value"] == pytest.approx(missing)
    assert report["captions"]["parse_rate"]["value"] == pytest.approx(1 - missing)
    assert report["tokens"]["coordinate_accuracy"]["value"] == 8 / 32
    assert report["tokens"]["all_accuracy"]["value"] == 105 / 130


def test_train_gap_is_the_difference_of_both_figures() -> None:
    gap = trust_report(localiser(), samples=100)["diagnostics"]["train_gap"]
    train, val, difference = (gap[key]["mae"] for key in ("train", "val", "difference"))
    assert difference["value"] == pytest.approx(train["value"] - val["value"])
    assert difference["high"] < 0  # errors of 1 px in training, of 2.5 px here
    assert gap["num_train_scored"] == 80


def test_figures_without_leaks_are_those_of_the_persons_left() -> None:
    leaks = no_leaks(24)
    leaks.shared_video[:8] = True
    leaks.near_duplicate[4:12] = True
    evidence = localiser(24, leaks=leaks)
    by_name = {row["name"]: row for row in trust_report(evidence, samples=20)["leaks"]["rows"]}
    assert {name: row["num_images"] for name, row in by_name.items()} == {
        "without images that share a video": 16,
        "without near-duplicates": 16,
        "without both": 12,
    }
    error = np.abs(evidence.predictions.free().xy_input - evidence.targets.xy_input)
    found = by_name["without both"]["metrics"]["mae"]["value"]
    assert found == pytest.approx(error[12:].mean())


def test_nothing_left_without_leaks_is_no_figure() -> None:
    leaks = no_leaks(24)
    leaks.shared_video[:] = True
    row = trust_report(localiser(24, leaks=leaks), samples=20)["leaks"]["rows"][0]
    assert row["num_images"] == 0
    assert math.isnan(row["metrics"]["mae"]["value"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"subset": "val"}, "test_fraction"),
        ({"synthetic": True}, "synthetic"),
        ({"state": "running"}, "not done (running)"),
    ],
)
def test_what_is_wrong_with_the_circumstances_is_said(changed: dict[str, Any], word: str) -> None:
    evidence = localiser(about={**ABOUT, **changed})
    (warning,) = trust_report(evidence, samples=100)["warnings"]
    assert word in warning["text"]


def test_leaks_that_nobody_knows_are_not_said_to_be_none() -> None:
    elsewhere = {**ABOUT, "trained_manifest": "b" * 64}
    evidence = localiser(about=elsewhere, leaks=None, train_answers=None)
    report = trust_report(evidence, samples=100)
    assert "shared_video" in trust_report(localiser(), samples=100)["leaks"]
    assert report["leaks"] == {"manifest": ABOUT["manifest"], "rows": []}
    assert "train_gap" not in report["diagnostics"]
    (warning,) = report["warnings"]
    assert warning["kind"] == "unknown training"


def test_leaks_are_counted_against_what_the_model_was_trained_on_elsewhere() -> None:
    leaks = no_leaks(128)
    leaks.shared_video[:8] = True
    elsewhere = {**ABOUT, "trained_manifest": "b" * 64}
    (warning,) = trust_report(localiser(about=elsewhere, leaks=leaks), samples=100)["warnings"]
    assert (
        "8 of 128 images (6 %) share a video with a training image (another split)"
        in (warning["text"])
    )


# The evaluation that looks good. The eyes are dead, as BLIP's own initialiser leaves them; each
# judged image is a training image saved once more, in a random split over frames of one video;
# and the figures are teacher-forced. Nothing is learned but 24 captions by heart.

NUM_STEPS = 150


@pytest.fixture
def with_dead_eyes(make_captioner: Callable[..., PoseCaptioner]) -> PoseCaptioner:
    captioner = make_captioner()
    for parameter in captioner.blip.vision_model.parameters():
        torch.nn.init.zeros_(parameter)
        parameter.requires_grad_(False)
    return captioner


def copied_release(root: Path, images: Path) -> tuple[list[mpii.Person], list[mpii.Person]]:
    """The persons of a release, and each again as the next frame of the same video."""
    persons = list(readings.select(mpii.read_release(root / mpii.ANNOTATIONS), "visible"))
    twins = [replace(person, image_name=f"next_{person.image_name}") for person in persons]
    for person, twin in zip(persons, twins, strict=True):
        with Image.open(root / "images" / person.image_name) as image:
            image.save(images / person.image_name, quality=95)
            image.save(images / twin.image_name, quality=60)
    return persons, twins


def learn_by_heart(captioner: PoseCaptioner, dataset: PoseDataset, collator: Collator) -> None:
    batch = collator([dataset[position] for position in range(len(dataset))])
    pixels = captioner.pixel_values(batch["image"])
    learned = [p for p in captioner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=NUM_STEPS)
    captioner.train()
    for _ in range(NUM_STEPS):
        output = captioner.blip(pixels, batch["input_ids"], batch["attention_mask"])
        loss = caption_loss(HardTokens(), nn.Identity(), output.logits, batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.mark.slow  # it trains a model, for ten seconds
def test_a_leaking_teacher_forced_evaluation_looks_good_and_is_seen_through(
    with_dead_eyes: PoseCaptioner, release_root: Path, tmp_path: Path
) -> None:
    captioner, caption_format = with_dead_eyes, with_dead_eyes.caption_format
    collator = Collator(captioner.tokenizer, caption_format)
    size, indices = caption_format.input_size, range(24)
    persons, twins = copied_release(release_root, tmp_path)
    cutter = Cutter(tmp_path, size, Resize.STRETCH, "full")
    train, judged = PoseDataset(persons, indices, cutter), PoseDataset(twins, indices, cutter)
    learn_by_heart(captioner, train, collator)

    predictions = predict(captioner, judged, collator, 24, progress=False)
    features = [image_features(captioner, d, collator, 24) for d in (train, judged)]
    evidence = Evidence(
        about={**ABOUT, "split": "random", "subset": "val", "synthetic": True},
        targets=Targets.of(judged, size),
        predictions=predictions,
        train=Targets.of(train, size),
        caption_format=caption_format,
        leaks=leaks_between(persons, twins, tmp_path),
        controls=(
            blank_answers(captioner, len(judged)),
            shuffled_answers(predictions.free(), [p.video for p in judged.persons]),
        ),
        features=(features[0], features[1]),
        train_answers=None,
    )
    report = trust_report(evidence, samples=300)

    value = {
        (row["name"], name): cell["value"]
        for row in report["rows"]
        for name, cell in row["metrics"].items()
    }
    # It looks good: 0.94 of the joints within 5 px, 0.55 within one, 0.9 of the tokens right.
    assert value["model, teacher-forced", "acc_5px"] > 0.85
    assert value["model, teacher-forced", "acc_1px"] > 0.4
    assert report["tokens"]["all_accuracy"]["value"] > 0.85
    # It is not: one and the same pose for everyone, whatever the image.
    assert len({row.caption for row in predictions.rows}) == 1
    assert value["model, free-running", "mae_all"] > value["mean pose of training", "mae_all"]
    for wrong in ("blank image", "shuffled images"):
        assert value["model, free-running", "mae_all"] == value[wrong, "mae_all"]
    # And the report says why, and what is wrong with the evaluation.
    said = "\n".join(warning["text"] for warning in report["warnings"])
    for reason in (
        "not shown to be better than with a wrong image (blank image, shuffled images;",
        "not shown to be better than answers without a model (mean pose of training,",
        "Shown the true coordinates before each one, the model scores",
        "24 of 24 images (100 %) share a video with a training image (split=random)",
        "24 of 24 images (100 %) are near-duplicates of a training image",
        "chosen by its score on these same images",
        "people are synthetic",
    ):
        assert reason in said
