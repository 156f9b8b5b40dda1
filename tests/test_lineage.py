"""What a model's weights have learned from, through trainings, files and ways to decode."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quiet_trainer import trainer

from blippose import checkpoint_files
from blippose.data import PoseDataModule
from blippose.decoding import UNKNOWN, Constrained, Decoding, Free, Parallel, Prompted, Taught
from blippose.errors import UserError
from blippose.frame_file import FRAME_FILE, lineage_of
from blippose.lineage import Lineage, lineage_in
from blippose.model import PoseCaptioner
from blippose.readback import ReadbackMask

HIDDEN, SINGLE = Taught(hidden_coordinates=True), Taught(single_joints=True)
MANIFEST = {"hash": "b" * 64, "synthetic": True}


@pytest.mark.parametrize(
    ("decoding", "enough"),
    [
        (Free(), Taught()),
        (Constrained(), Taught()),
        (Parallel(None), Taught()),
        (Parallel(0), HIDDEN),
        (Parallel(2, test_views=2), HIDDEN),
        (Prompted(), SINGLE),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_decoding_is_cautioned_against_until_its_captions_were_taught(
    decoding: Decoding, enough: Taught
) -> None:
    assert UNKNOWN.caution(decoding) is None
    for taught in (Taught(), HIDDEN, SINGLE, HIDDEN | SINGLE):
        said = taught.caution(decoding)
        if taught | enough == taught:
            assert said is None
        else:
            assert f"decoding={decoding.name}, which " in str(said)


def test_what_was_taught_stays_taught_in_later_trainings() -> None:
    lineage = Lineage(True, ("a" * 64,), HIDDEN).then(MANIFEST, SINGLE)
    assert lineage == Lineage(True, ("a" * 64, "b" * 64), HIDDEN | SINGLE)
    assert Lineage().then(MANIFEST, Taught()).taught == Taught(), "foreign weights know no masks"


def test_a_past_that_nobody_knows_stays_unknown_but_for_what_is_taught_later() -> None:
    older = Lineage.of({"synthetic": True, "manifest": "a" * 64})
    assert older.then(MANIFEST, Taught()).taught == UNKNOWN
    assert older.then(MANIFEST, HIDDEN).taught == Taught(True, None, None)
    assert older.then(MANIFEST, HIDDEN).then(MANIFEST, Taught()).taught == Taught(True, None, None)


@pytest.mark.parametrize(
    ("before", "now", "is_drawn"),
    [(None, True, True), (True, True, True), (False, True, False), (True, False, False)],
)
def test_a_model_knows_drawn_people_alone_where_all_its_trainings_had_drawn_ones(
    before: bool | None, now: bool, is_drawn: bool
) -> None:
    assert Lineage(before).then({**MANIFEST, "synthetic": now}, Taught()).synthetic == is_drawn


def test_a_training_that_goes_on_is_one_training() -> None:
    once = Lineage(True, ("a" * 64,)).then(MANIFEST, HIDDEN)
    assert once.then(MANIFEST, HIDDEN) == once
    assert once.then(None, HIDDEN).then(None, HIDDEN).manifests == (*once.manifests, None)


@pytest.mark.parametrize("manifests", [("a" * 64,), (None,)])
def test_drawn_people_later_tell_nothing_of_a_training_that_nobody_knows(
    manifests: tuple[str | None, ...],
) -> None:
    assert Lineage(None, manifests).then(MANIFEST, Taught()).synthetic is None
    real = {**MANIFEST, "synthetic": False}
    assert Lineage(None, manifests).then(real, Taught()).synthetic is False


@pytest.mark.parametrize(("before", "now"), [(None, None), (True, None), (False, False)])
def test_of_data_that_nobody_knows_nothing_is_claimed(
    before: bool | None, now: bool | None
) -> None:
    lineage = Lineage(before).then(None, Taught(False, None))
    assert lineage == Lineage(now, (None,), Taught(False, None))


@pytest.mark.parametrize("taught", [Taught(), HIDDEN, HIDDEN | SINGLE])
def test_a_record_brings_back_what_was_written(taught: Taught) -> None:
    lineage = Lineage(False, ("a" * 64, None, "b" * 64), taught)
    assert Lineage.of(json.loads(json.dumps(lineage.record()))) == lineage


def test_a_record_of_an_earlier_version_says_nothing_of_what_was_taught() -> None:
    assert Lineage.of({"synthetic": True}) == Lineage(True, (None,), UNKNOWN)
    newer = {"taught": {"hidden_coordinates": True, "left and right": True}}
    assert Lineage.of(newer).taught == Taught(True, None, None)


def test_the_shipped_model_says_that_it_was_taught_hidden_coordinates_and_close_ups() -> None:
    assert lineage_of("tiny") == Lineage(True, (), replace(HIDDEN, close_ups=True))
    assert lineage_of("random") == Lineage()


def test_a_lineage_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FRAME_FILE).write_text('{"manifest": null, "taught": 5}')
    with pytest.raises(
        UserError, match=r"blippose\.json: taught=5: expected what captions have taught"
    ):
        lineage_of(str(tmp_path))


@pytest.mark.parametrize(
    ("mask", "hides"),
    [(None, False), (ReadbackMask(), True), (ReadbackMask(0.0, 0.5, 0.0), False)],
)
def test_a_captioner_knows_whether_it_hides_coordinates(
    make_captioner: Callable[..., PoseCaptioner], mask: ReadbackMask | None, hides: bool
) -> None:
    settings: dict[str, Any] = {"readback_mask": mask}
    assert make_captioner(**settings).hides_coordinates == hides


def test_a_trainer_of_ones_own_adds_its_training(
    make_captioner: Callable[..., PoseCaptioner],
    make_data: Callable[..., PoseDataModule],
    tmp_path: Path,
) -> None:
    captioner, data = make_captioner(readback_mask=ReadbackMask()), make_data(single_joint=0.5)
    captioner.lineage = Lineage(True, ("a" * 64,))
    own = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    own.fit(captioner, data)
    own.save_checkpoint(tmp_path / "mine.ckpt")
    found = lineage_in(checkpoint_files.read(tmp_path / "mine.ckpt"))
    assert found.manifests == ("a" * 64, data.manifest["hash"])
    assert found.synthetic == data.manifest["synthetic"]
    assert found.taught == HIDDEN | SINGLE
    another = make_captioner()
    trainer(tmp_path, max_steps=2, limit_val_batches=0).fit(
        another, data, ckpt_path=tmp_path / "mine.ckpt", weights_only=True
    )
    assert another.lineage == found, "one that goes on is the same training"
    elsewhere = make_captioner(resize="letterbox")
    with pytest.raises(UserError, match="resize is stretch there and letterbox here"):
        trainer(tmp_path, max_steps=2).fit(elsewhere, data, ckpt_path=tmp_path / "mine.ckpt")
    own.fit(captioner, data.train_dataloader())  # the Trainer still has `data` as its datamodule
    assert captioner.lineage == Lineage(
        None, (*found.manifests, None), replace(HIDDEN | SINGLE, close_ups=None)
    )
