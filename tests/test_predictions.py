"""Predictions of a whole subset: asked, stored, used again, shared by processes; the controls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from reciting import Reciting
from teacher_forcing import number_ids, stock_xy, sure_of_words

from blippose.augmentation import Augmentation
from blippose.caption import CaptionFormat, Reason
from blippose.data import PoseDataModule
from blippose.decoding import Constrained, InputFrame
from blippose.errors import UserError
from blippose.evaluation import parts
from blippose.evaluation.predictions import (
    Origin,
    PredictionRow,
    StoredPredictions,
    blank_answers,
    image_features,
    other_persons,
    predict,
    shuffled_answers,
    stored_features,
    stored_predict,
)
from blippose.evaluation.stored_predictions import joints
from blippose.frame_file import Stated
from blippose.loss import IGNORED
from blippose.model import PoseCaptioner
from blippose.pose import Pose
from blippose.predictor import PosePredictor

MakeData = Callable[..., PoseDataModule]
MakeCaptioner = Callable[..., PoseCaptioner]
SIZE = 32

ORIGIN = Origin(
    source="runs/demo/best.ckpt",
    checkpoint_sha256="ab" * 32,
    manifest="cd" * 32,
    subset="val",
    pixels_sha256="12" * 32,
    frame=InputFrame(SIZE, None, "stretch", "full"),
    max_length=130,
    version="0.1",
    made_with={"commit": "ab"},
    decoding="free",
)


@pytest.fixture
def captioner(make_captioner: MakeCaptioner) -> PoseCaptioner:
    """Random, but of strong views: no two images bring it to say the same."""
    captioner = make_captioner()
    with torch.no_grad():
        for parameter in captioner.blip.parameters():
            parameter.mul_(3)
    return captioner


@pytest.fixture
def data(make_data: MakeData) -> PoseDataModule:
    """Six persons to judge on: three batches of two."""
    return make_data(split="random", train_fraction=0.75)


def row(number: int, captions: tuple[str, str], truncated: bool = False) -> PredictionRow:
    parsed, forced = map(CaptionFormat(SIZE).decode, captions)
    xy = joints(parsed.pose.xy)
    return PredictionRow(
        image=f"{number}.jpg",
        index=number,
        video=None if number else 3,
        caption=captions[0],
        truncated=truncated,
        reasons=tuple(None if reason is None else str(reason) for reason in parsed.reasons),
        xy_input=xy,
        xy_img=tuple(None if at is None else (at[0] / 3, at[1] / 7) for at in xy),
        confidence=tuple(0.0 if at is None else 0.75 for at in xy),
        teacher_forced_caption=captions[1],
        teacher_forced_xy_input=joints(forced.pose.xy),
        teacher_forced_all_looks_xy_input=None,
        coordinate_tokens=(number, 32),
        all_tokens=(90 + number, 126),
    )


@pytest.fixture
def stored() -> StoredPredictions:
    whole = CaptionFormat(SIZE).encode(np.arange(32.0).reshape(16, 2))
    rows = (
        row(0, (whole, "right ankle (5,6)")),
        row(1, ("", whole), truncated=True),
        row(2, ("left wrist (1,2), pelvis (99,1)", whole)),
    )
    return StoredPredictions(ORIGIN.frame, rows)


def test_answers_are_what_the_captions_say(stored: StoredPredictions) -> None:
    free, (forced,) = stored.free(), stored.teacher_forced()
    np.testing.assert_array_equal(free.xy_input[0], np.arange(32.0).reshape(16, 2))
    assert np.isnan(free.xy_input[1]).all()
    assert free.xy_input[2, 15].tolist() == [1, 2]
    assert np.isfinite(free.xy_input[2]).sum() == 2
    assert forced.xy_input[0, 0].tolist() == [5, 6]
    np.testing.assert_array_equal(forced.xy_input[1], free.xy_input[0])
    assert (free.kind, forced.kind) == ("model", "model")
    assert stored.truncated().tolist() == [False, True, False]


def test_teacher_forced_answers_of_all_looks_come_before_those_of_one(
    stored: StoredPredictions, tmp_path: Path
) -> None:
    rows = tuple(
        replace(row, teacher_forced_all_looks_xy_input=((7.5, 2.0),) * 16) for row in stored.rows
    )
    replace(stored, rows=rows).save(tmp_path / "val.json", ORIGIN)
    loaded = StoredPredictions.load(tmp_path / "val.json", ORIGIN)
    assert loaded is not None
    in_all_looks, one_look = loaded.teacher_forced()
    assert (in_all_looks.xy_input == [7.5, 2.0]).all()
    np.testing.assert_array_equal(one_look.xy_input, stored.teacher_forced()[0].xy_input)
    assert in_all_looks.name == stored.teacher_forced()[0].name == "model, teacher-forced"
    assert one_look.name == "model, teacher-forced, one look"


def test_joints_between_the_bins_are_kept(stored: StoredPredictions) -> None:
    """A decoding by expectation says more than its caption."""
    between = replace(stored.rows[0], xy_input=((1.25, 2.5),) * 16)
    free = replace(stored, rows=(between,)).free()
    np.testing.assert_array_equal(free.xy_input[0], [[1.25, 2.5]] * 16)


def test_missing_joints_have_no_confidence_and_their_reasons(stored: StoredPredictions) -> None:
    confidence, reasons = stored.free().confidence, stored.reasons()
    assert confidence is not None
    assert confidence[0].tolist() == [0.75] * 16
    assert (confidence[2] > 0).tolist() == [False] * 15 + [True]
    assert reasons[0] == (None,) * 16
    assert reasons[2][6] is Reason.OUT_OF_RANGE


def test_stored_predictions_survive_the_file_to_the_last_digit(
    stored: StoredPredictions, tmp_path: Path
) -> None:
    path = tmp_path / "predictions" / "val.json"
    stored.save(path, ORIGIN)
    assert StoredPredictions.load(path, ORIGIN) == stored
    assert [file.name for file in path.parent.iterdir()] == ["val.json"]


def test_file_is_json_with_a_row_a_line_and_its_frame(
    stored: StoredPredictions, tmp_path: Path
) -> None:
    stored.save(tmp_path / "val.json", ORIGIN)
    text = (tmp_path / "val.json").read_text()
    record = json.loads(text)
    assert record["frame"] == {
        "input_size": SIZE,
        "num_bins": None,
        "resize": "stretch",
        "crop": "full",
    }
    assert record["subset"] == "val"
    assert record["decoding"] == "free"
    assert [each["index"] for each in record["rows"]] == [0, 1, 2]
    lines = [line for line in text.splitlines() if '"caption"' in line]
    assert [json.loads(line.rstrip(",")) for line in lines] == record["rows"]


def test_moved_checkpoint_is_still_the_same(stored: StoredPredictions, tmp_path: Path) -> None:
    stored.save(tmp_path / "val.json", ORIGIN)
    moved = replace(ORIGIN, source="elsewhere/best.ckpt", made_with={"commit": "ef"})
    found = StoredPredictions.load(tmp_path / "val.json", moved)
    assert found == stored
    assert found.made_with == {"commit": "ab"}  # of the program that asked the model


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_sha256": "ef"},
        {"manifest": "ef"},
        {"subset": "test"},
        {"max_length": 100},
        {"version": "0.0"},
        {"pixels_sha256": "ef"},
        {"decoding": "constrained"},
        {"frame": InputFrame(SIZE, None, "letterbox", "full")},
        {"frame": InputFrame(SIZE, 16, "stretch", "full")},
    ],
)
def test_predictions_of_another_origin_are_not_believed(
    change: dict[str, Any], stored: StoredPredictions, tmp_path: Path
) -> None:
    stored.save(tmp_path / "val.json", ORIGIN)
    assert StoredPredictions.load(tmp_path / "val.json", replace(ORIGIN, **change)) is None


@pytest.mark.parametrize("kept", [0, 1, 10, 600, -3])
def test_torn_file_is_not_believed(kept: int, stored: StoredPredictions, tmp_path: Path) -> None:
    path = tmp_path / "val.json"
    stored.save(path, ORIGIN)
    path.write_text(path.read_text()[:kept])
    assert StoredPredictions.load(path, ORIGIN) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("xy_input", []), ("all_tokens", [1]), ("caption", ...), ("index", None), ("rows", 3)],
)
def test_foreign_rows_are_not_believed(
    key: str, value: Any, stored: StoredPredictions, tmp_path: Path
) -> None:
    path = tmp_path / "val.json"
    stored.save(path, ORIGIN)
    record = json.loads(path.read_text())
    if key == "rows":
        record["rows"] = value
    elif value is ...:
        del record["rows"][1][key]
    else:
        record["rows"][1][key] = value
    path.write_text(json.dumps(record))
    assert StoredPredictions.load(path, ORIGIN) is None
    path.write_text(json.dumps([1]))
    assert StoredPredictions.load(path, ORIGIN) is None


def test_predictions_are_those_of_validation(
    captioner: PoseCaptioner, data: PoseDataModule
) -> None:
    predictions = predict(captioner, data.val_set, data.collator, 4, progress=False)
    captioner.eval()
    free, forced = [], []
    for batch in data.val_dataloader():
        free += captioner.say(batch["image"]).captions
        logits = stock_logits(captioner, batch)
        states = captioner.look(batch["image"])
        forced += captioner.reader.teacher_forced(states, batch["input_ids"], logits)[0]
    assert predictions.free().captions == tuple(free)
    assert [each.captions for each in predictions.teacher_forced()] == [tuple(forced)]
    assert len(set(free)) > 1
    assert [each.index for each in predictions.rows] == list(data.val_set.indices)
    assert [each.image for each in predictions.rows] == [
        p.image_name for p in data.val_set.persons
    ]


@pytest.mark.parametrize("expectation", [False, True])
def test_teacher_forced_rows_are_what_hugging_face_says_beside_each_true_caption(
    captioner: PoseCaptioner, data: PoseDataModule, expectation: bool
) -> None:
    """Person number n has n + 1 joints, so that the captions of a batch are of unequal lengths."""
    captioner.reader.decoding = Constrained(expectation=expectation)
    some = data.val_set.part(range(6))
    for position, person in enumerate(some.persons):
        xy = np.where(np.arange(16)[:, None] <= position, person.pose.xy, np.nan)
        some.persons[position] = replace(person, pose=Pose.of(xy))
    numbers, pad = number_ids(captioner.tokenizer, SIZE), captioner.tokenizer.pad_token_id
    hook = captioner.blip.text_decoder.register_forward_hook(
        sure_of_words(numbers, pad), with_kwargs=True
    )
    predictions = predict(captioner, some, data.collator, 4, progress=False)
    hook.remove()
    captioner.eval()
    (forced,) = predictions.teacher_forced()
    assert forced.captions is not None
    for position, xy_input in enumerate(forced.xy_input):
        batch = data.collator([some[position]])
        pixels = captioner.pixel_values(batch["image"])[0]
        ids = batch["input_ids"][0].tolist()
        mean, written = (
            stock_xy(captioner.blip, pixels, ids, numbers, expectation=way)
            for way in (expectation, False)
        )
        assert np.isfinite(xy_input).all(axis=1).sum() == len(mean) == position + 1
        np.testing.assert_allclose(xy_input[: len(mean)], mean, atol=1e-3)
        said = captioner.caption_format.decode(forced.captions[position]).pose.xy
        np.testing.assert_array_equal(said[: len(mean)], written)


def stock_logits(captioner: PoseCaptioner, batch: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = captioner.blip(
            pixel_values=captioner.pixel_values(batch["image"]),
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
        ).logits
    return logits


def test_token_counts_agree_with_one_person_at_a_time(
    captioner: PoseCaptioner, make_data: MakeData
) -> None:
    data = make_data(reading="annotated")
    predictions = predict(captioner, data.val_set, data.collator, 64, progress=False)
    coordinates, tokens = predictions.token_counts()
    captioner.eval()
    for i in range(len(data.val_set)):
        batch = data.collator([data.val_set[i]])
        said = stock_logits(captioner, batch)[0, :-1].argmax(-1).tolist()
        shown = batch["labels"][0, 1:].tolist()
        words = data.collator.tokenizer.convert_ids_to_tokens(shown)
        pairs = list(zip(said, shown, words, strict=True))
        numbers = [a == b for a, b, word in pairs if word.removeprefix("##").isdigit()]
        assert coordinates[i].tolist() == [sum(numbers), len(numbers)]
        assert tokens[i].tolist() == [sum(a == b for a, b, _ in pairs), len(pairs)]
        assert IGNORED not in shown
    assert coordinates[:, 0].sum() < tokens[:, 0].sum()


def test_caption_without_its_end_is_truncated(
    captioner: PoseCaptioner, data: PoseDataModule
) -> None:
    sep = captioner.tokenizer.sep_token_id
    bias = captioner.blip.text_decoder.cls.predictions.decoder.bias
    for score, expected in ((-1e4, True), (1e4, False)):
        with torch.no_grad():
            bias[sep] = score
        predictions = predict(captioner, data.val_set, data.collator, 6, progress=False)
        assert (predictions.truncated() == expected).all()


def test_joints_lie_in_both_frames(captioner: PoseCaptioner, data: PoseDataModule) -> None:
    captioner.reader.decoding = Reciting(["right ankle (3,4), pelvis (99,1)"] * len(data.val_set))
    predictions = predict(captioner, data.val_set, data.collator, 6, progress=False)
    for position, each in enumerate(predictions.rows):
        crop = data.val_set[position].crop
        expected = crop.to_img(np.array([[3.0, 4.0]]))[0]
        assert each.xy_input[0] == (3.0, 4.0)
        assert each.xy_img[0] == pytest.approx(tuple(expected))
        assert each.reasons[6] == "out of range"
        assert each.xy_img[6] is None


def test_the_model_is_left_as_it_was(captioner: PoseCaptioner, data: PoseDataModule) -> None:
    captioner.train()
    predict(captioner, data.val_set, data.collator, 6, progress=False)
    assert captioner.training
    assert captioner.blip.text_decoder.training


def test_training_persons_are_asked_about_without_augmentation(
    captioner: PoseCaptioner, make_data: MakeData
) -> None:
    data = make_data(augmentation=Augmentation(flip=1.0))
    some = data.train_set.part([3, 1])
    predictions = predict(captioner, some, data.collator, 6, progress=False)
    assert [each.index for each in predictions.rows] == [data.train_set.indices[i] for i in (3, 1)]
    assert [each.image for each in predictions.rows] == [p.image_name for p in some.persons]
    assert some[(0, 0)].image.tolist() == some[0].image.tolist()  # in no epoch either
    augmented, plain = (data.collator([each])["image"] for each in (data.train_set[0, 3], some[0]))
    assert not torch.equal(augmented, plain)
    np.testing.assert_array_equal(some[0].image, data.train_set[3].image)


def ask(
    captioner: PoseCaptioner, data: PoseDataModule, path: Path, origin: Origin = ORIGIN
) -> tuple[StoredPredictions, bool]:
    return stored_predict(path, origin, captioner, data.val_set, data.collator, 2, progress=False)


@pytest.fixture
def looks(captioner: PoseCaptioner, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of images of each batch that the model has looked at."""
    seen: list[int] = []
    look = captioner.look

    def counted(image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return look(image)

    monkeypatch.setattr(captioner, "look", counted)
    return seen


def test_stored_predictions_are_used_again(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path, looks: list[int]
) -> None:
    path = tmp_path / "val.json"
    first, was_there = ask(captioner, data, path)
    again, is_there = ask(captioner, data, path)
    assert (was_there, is_there) == (False, True)
    assert first == again == predict(captioner, data.val_set, data.collator, 2, progress=False)
    assert looks == [2, 2, 2] * 2  # once stored, once by predict
    assert [file.name for file in tmp_path.iterdir()] == ["val.json"]


def test_other_weights_or_a_torn_file_are_asked_again(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path, looks: list[int]
) -> None:
    path = tmp_path / "val.json"
    first, _ = ask(captioner, data, path)
    other = replace(ORIGIN, checkpoint_sha256="ef")
    assert ask(captioner, data, path, other)[1] is False
    path.write_text(path.read_text()[:-9])
    assert ask(captioner, data, path, other) == (first, False)
    assert len(looks) == 9


def test_stored_predictions_of_other_persons_are_asked_again(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path
) -> None:
    path = tmp_path / "train.json"
    for positions, is_known in ([0, 1], False), ([0, 2], False), ([0, 2], True):
        some = data.train_set.part(positions)
        predictions, was_there = stored_predict(
            path, ORIGIN, captioner, some, data.collator, 2, progress=False
        )
        assert was_there == is_known
        assert [each.index for each in predictions.rows] == list(some.indices)


def test_work_that_was_cut_off_goes_on(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    tmp_path: Path,
    looks: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = predict(captioner, data.val_set, data.collator, 2, progress=False)
    looks.clear()
    with monkeypatch.context() as patch:
        look = captioner.look

        def cut_off(image: torch.Tensor) -> torch.Tensor:
            if len(looks) == 2:
                raise KeyboardInterrupt
            return look(image)

        patch.setattr(captioner, "look", cut_off)
        with pytest.raises(KeyboardInterrupt):
            ask(captioner, data, tmp_path / "val.json")
    (part,) = tmp_path.glob(".val.part-0-of-1.jsonl")
    part.write_text(part.read_text()[:-50])  # as if killed within a line
    looks.clear()
    assert ask(captioner, data, tmp_path / "val.json") == (whole, False)
    assert looks == [2, 2]  # the first of three batches is kept


def test_work_of_another_checkpoint_is_not_gone_on_with(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path, looks: list[int]
) -> None:
    part = tmp_path / ".val.part-0-of-1.jsonl"
    part.write_text('{"checkpoint_sha256": "another"}\n{"batch": 0, "results": []}\n')
    ask(captioner, data, tmp_path / "val.json")
    assert len(looks) == 3


def test_a_second_process_in_the_same_place_is_refused(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path
) -> None:
    with (
        FileLock(tmp_path / ".val.part-0-of-1.lock"),
        pytest.raises(UserError, match="another process is evaluating there"),
    ):
        ask(captioner, data, tmp_path / "val.json")


RANK_SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    from test_predictions import ORIGIN, ask
    from blippose.data import PoseDataModule
    from blippose.model import PoseCaptioner
    from blippose.predictor import PosePredictor

    torch.set_num_threads(1)
    model, root, path = sys.argv[1:]
    of = PosePredictor.from_pretrained(model)
    captioner = PoseCaptioner(of.blip, of.tokenizer, of.caption_format, optimizer=None)
    settings = {"split": "random", "train_fraction": 0.75}
    data = PoseDataModule(of.tokenizer, of.caption_format, root, **settings)
    data.setup()
    ask(captioner, data, Path(path))
"""


def test_two_processes_write_what_one_does_to_the_last_digit(
    captioner: PoseCaptioner, data: PoseDataModule, release_root: Path, tmp_path: Path
) -> None:
    of = PosePredictor(captioner.blip, captioner.tokenizer, Stated(captioner.frame), "random")
    of.save_pretrained(tmp_path / "model")
    ask(captioner, data, tmp_path / "one" / "val.json")
    two = tmp_path / "two" / "val.json"
    command = [sys.executable, "-c", textwrap.dedent(RANK_SCRIPT)]
    arguments = [str(tmp_path / "model"), str(release_root), str(two)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen([*command, *arguments], env={**environment, "RANK": rank})
        for rank in "01"
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert two.read_bytes() == (tmp_path / "one" / "val.json").read_bytes()
    assert [file.name for file in two.parent.iterdir()] == ["val.json"]


def test_the_others_do_their_share_and_go(
    captioner: PoseCaptioner,
    data: PoseDataModule,
    tmp_path: Path,
    looks: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = predict(captioner, data.val_set, data.collator, 2, progress=False)
    looks.clear()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("1", (None, False)), ("0", (whole, False)), ("1", (None, True))):
        monkeypatch.setenv("RANK", rank)
        assert ask(captioner, data, tmp_path / "val.json") == said
    assert looks == [2] * 3  # three batches: the second, then the first and the third
    assert [file.name for file in tmp_path.iterdir()] == ["val.json"]


def test_features_of_two_processes_are_those_of_one(
    captioner: PoseCaptioner, data: PoseDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(folder: str) -> Any:
        path = tmp_path / folder / "features.npz"
        dataset, collator = data.val_set, data.collator
        return stored_features(path, ORIGIN, captioner, dataset, collator, 2)

    alone = features("one")
    np.testing.assert_array_equal(alone, image_features(captioner, data.val_set, data.collator, 2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert features("two") is None
    monkeypatch.setenv("RANK", "0")
    np.testing.assert_array_equal(features("two"), alone)


def test_waiting_ends_when_the_others_have_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_PATIENCE_S", 0.3)
    share = parts.Part(tmp_path, "val", {}, rank=1, world_size=2, num_batches=2)
    with pytest.raises(UserError, match=r"have stopped; start it again: what is done is kept"):
        parts.merged([share])


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}, (2, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, (0, 1)),  # a batch script, alone
    ],
)
def test_share_is_what_the_launcher_says(
    environment: dict[str, str], share: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parts.process_share() == share


def test_blank_image_is_zero_after_normalisation_and_the_same_for_all(
    captioner: PoseCaptioner, data: PoseDataModule, looks: list[int]
) -> None:
    seen: list[torch.Tensor] = []
    captioner.normalization.register_forward_hook(lambda _m, _i, output: seen.append(output))
    answers = blank_answers(captioner, len(data.val_set))
    assert looks == [1]
    assert seen[0].abs().max() < 0.5 / 255 / 0.26  # half a level, in deviations
    assert answers.xy_input.shape == (len(data.val_set), 16, 2)
    assert answers.captions is not None
    assert len(set(answers.captions)) == 1
    assert (answers.name, answers.kind) == ("blank image", "control")


def test_shuffled_images_are_what_the_model_says_of_another_persons_image(
    captioner: PoseCaptioner, data: PoseDataModule
) -> None:
    free = predict(captioner, data.val_set, data.collator, 2, progress=False).free()
    videos = [person.video for person in data.val_set.persons]
    answers = shuffled_answers(free, videos, 3)
    other = other_persons(videos, 3)
    captioner.eval()
    images = data.collator([data.val_set[i] for i in other.tolist()])["image"]
    assert answers.captions == captioner.say(images).captions


@given(
    videos=st.lists(st.none() | st.integers(0, 5), min_size=2, max_size=40),
    seed=st.integers(0, 9),
)
def test_everyone_gets_another_persons_image(videos: list[int | None], seed: int) -> None:
    other = other_persons(videos, seed)
    assert sorted(other.tolist()) == list(range(len(videos)))
    assert (other != np.arange(len(videos))).all()
    largest = max((videos.count(video) for video in videos if video is not None), default=1)
    if 2 * largest <= len(videos):
        assert all(
            videos[i] is None or videos[i] != videos[j] for i, j in enumerate(other.tolist())
        )


def test_other_seeds_give_other_images_and_one_person_has_none() -> None:
    videos = list(range(20))
    assert len({tuple(other_persons(videos, seed).tolist()) for seed in range(5)}) == 5
    assert (other_persons(videos, 1) == other_persons(videos, 1)).all()
    with pytest.raises(UserError, match="two persons or more"):
        other_persons([1], 0)


def test_image_features_are_the_mean_of_the_patches(
    captioner: PoseCaptioner, data: PoseDataModule
) -> None:
    features = image_features(captioner, data.val_set, data.collator, 5)
    captioner.eval()
    for i in (0, 5):
        image = data.collator([data.val_set[i]])["image"]
        with torch.no_grad():
            states = captioner.blip.vision_model(captioner.pixel_values(image)).last_hidden_state
        expected = states[0, 1:].mean(0).numpy()
        np.testing.assert_allclose(features[i], expected, rtol=1e-4, atol=1e-5)
    assert features.shape == (len(data.val_set), captioner.blip.vision_model.config.hidden_size)
