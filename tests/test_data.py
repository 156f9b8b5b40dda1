"""Batches of the synthetic release, read by the real reader."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NUM_PERSONS, SIZE
from PIL import Image
from torch.utils.data import BatchSampler
from transformers import BertTokenizer

from blippose import mpii, readings
from blippose.augmentation import Augmentation
from blippose.caption import CaptionFormat
from blippose.data import (
    EpochSampler,
    PoseBatch,
    PoseDataModule,
    PoseDataset,
    ReleaseSource,
    Synthetic,
)
from blippose.errors import UserError
from blippose.geometry import Crop
from blippose.images import read_image
from blippose.loss import IGNORED

MakeData = Callable[..., PoseDataModule]
FIELDS = {
    "image": (torch.uint8, (8, 3, SIZE, SIZE)),
    "input_ids": (torch.int64, None),
    "attention_mask": (torch.int64, None),
    "labels": (torch.int64, None),
    "xy_input": (torch.float32, (8, 16, 2)),
    "xy_img": (torch.float32, (8, 16, 2)),
    "valid": (torch.bool, (8, 16)),
    "crop": (torch.float32, (8, 4)),
    "head_size": (torch.float32, (8,)),
    "index": (torch.int64, (8,)),
}


@pytest.fixture
def broken_root(release_root: Path, tmp_path: Path) -> Path:
    """A copy of the release, to be broken."""
    return Path(shutil.copytree(release_root, tmp_path / "release"))


def first_image(root: Path) -> Path:
    persons = readings.select(mpii.read_release(root / mpii.ANNOTATIONS))
    return root / "images" / persons[0].image_name


def of(loader: Any) -> list[PoseBatch]:
    return list(loader)


def assert_same_batches(first: Iterable[PoseBatch], second: Iterable[PoseBatch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert one.get("image_path") == other.get("image_path")
        for name in one.keys() - {"image_path"}:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_batch_has_the_documented_fields(make_data: MakeData) -> None:
    batch = of(make_data().train_dataloader())[0]
    assert batch.keys() == FIELDS.keys() | {"image_path"} == PoseBatch.__annotations__.keys()
    assert all(path.is_file() for path in batch["image_path"])
    for name, (dtype, shape) in FIELDS.items():
        tensor = batch[name]  # type: ignore[literal-required]  # a name of the TypedDict
        assert tensor.dtype == dtype
        assert shape is None or tensor.shape == shape
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["labels"].shape


def test_all_joints_are_valid_under_the_default_reading(make_data: MakeData) -> None:
    data = make_data()
    batches = of(data.train_dataloader()) + of(data.val_dataloader())
    assert sum(len(batch["index"]) for batch in batches) == NUM_PERSONS
    assert all(batch["valid"].all() for batch in batches)
    assert all((batch["head_size"] > 0).all() for batch in batches)


def test_captions_start_with_dec_and_end_with_sep(
    make_data: MakeData, tokenizer: BertTokenizer
) -> None:
    for batch in of(make_data().train_dataloader()):
        assert (batch["input_ids"][:, 0] == tokenizer.bos_token_id).all()
        last = batch["attention_mask"].sum(1) - 1
        assert (batch["input_ids"].gather(1, last[:, None]) == tokenizer.sep_token_id).all()


def test_labels_are_the_tokens_with_pads_alone_ignored(
    make_data: MakeData, tokenizer: BertTokenizer, release_root: Path
) -> None:
    batches = of(make_data(reading="annotated").train_dataloader())
    ids = torch.cat([batch["input_ids"].flatten() for batch in batches])
    labels = torch.cat([batch["labels"].flatten() for batch in batches])
    assert torch.equal(labels == IGNORED, ids == tokenizer.pad_token_id)
    assert torch.equal(labels[labels != IGNORED], ids[labels != IGNORED])


def test_persons_with_missing_joints_make_shorter_captions(
    release_root: Path, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    data = PoseDataModule(tokenizer, caption_format, str(release_root))
    data.setup()
    whole, part = data.train_set[0], data.train_set[1]
    xy = part.pose_input.xy.copy()
    xy[:4] = np.nan
    part = replace(part, pose_input=type(part.pose_input).of(xy))
    batch = data.collator([whole, part])
    assert (batch["labels"][0] != IGNORED).all()
    assert (batch["labels"][1] == IGNORED).sum() > 0
    text = tokenizer.decode(batch["input_ids"][1], skip_special_tokens=True)
    assert (caption_format.decode(text).pose.valid == part.pose_input.valid).all()
    assert batch["xy_input"][1, :4].isnan().all()


@pytest.mark.parametrize("crop", ["full", "person"])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_crop_maps_xy_img_to_xy_input(make_data: MakeData, crop: str, resize: str) -> None:
    for batch in of(make_data(crop=crop, resize=resize).val_dataloader()):
        for xy_img, xy_input, rectangle in zip(
            batch["xy_img"], batch["xy_input"], batch["crop"], strict=True
        ):
            mapped = Crop(*rectangle.tolist(), SIZE).to_input(xy_img.numpy().astype(float))
            np.testing.assert_allclose(mapped, xy_input, atol=1e-3)


def test_captions_say_xy_input(
    make_data: MakeData, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    data = make_data(augmentation=Augmentation())
    for batch in of(data.train_dataloader()):
        texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        for text, xy_input in zip(texts, batch["xy_input"].numpy(), strict=True):
            said = caption_format.decode(text).pose.xy
            np.testing.assert_allclose(said, xy_input.clip(0, SIZE - 1), atol=0.5 + 1e-4)


def test_indices_name_the_persons_of_the_manifest(make_data: MakeData) -> None:
    data = make_data()
    train = {int(index) for batch in data.train_dataloader() for index in batch["index"]}
    val = {int(index) for batch in data.val_dataloader() for index in batch["index"]}
    assert not train & val
    assert sorted(train | val) == list(range(NUM_PERSONS))
    assert (len(data.manifest["train"]), len(data.manifest["val"])) == (len(train), len(val))
    for sample in (data.val_set[i] for i in range(len(data.val_set))):
        assert data.persons[sample.index].pose is sample.pose_img


def test_mean_pose_is_that_of_the_training_poses_unaugmented(make_data: MakeData) -> None:
    data = make_data(augmentation=Augmentation())
    plain = of(make_data().train_dataloader())
    poses = torch.cat([batch["xy_input"] for batch in plain])
    np.testing.assert_allclose(data.mean_pose(), poses.mean(0), atol=1e-4)


def test_an_augmented_item_is_decided_by_seed_epoch_and_person(make_data: MakeData) -> None:
    def item(data: PoseDataModule, epoch: int, position: int) -> PoseBatch:
        return data.collator([data.train_set[epoch, position]])

    first, again = (make_data(augmentation=Augmentation()) for _ in range(2))
    other_seed = make_data(augmentation=Augmentation(), seed=1)
    item(first, 3, 1), item(first, 0, 4)  # what was drawn before has no effect
    assert_same_batches([item(first, 2, 5)], [item(again, 2, 5)])
    for other in (item(first, 3, 5), item(other_seed, 2, 5)):
        assert (item(first, 2, 5)["xy_input"] != other["xy_input"]).any()
        assert (item(first, 2, 5)["image"] != other["image"]).any()
        assert torch.equal(item(first, 2, 5)["xy_img"], other["xy_img"])


def test_what_becomes_of_a_person_does_not_depend_on_its_batch(make_data: MakeData) -> None:
    strong = Augmentation(rotate=30.0, color=0.3, erase=0.5)
    alone: dict[int, torch.Tensor] = {}
    for size in (1, 3, 8):
        data = make_data(augmentation=strong, batch_size=size)
        of_size = {}
        for batch in of(data.train_dataloader()):
            pixels = data.on_after_batch_transfer(batch, 0)["image"]
            of_size |= dict(zip(batch["index"].tolist(), pixels, strict=True))
        alone = alone or of_size
        assert of_size.keys() == alone.keys()
        assert all(torch.equal(of_size[index], alone[index]) for index in alone)


def test_augmented_batches_come_to_the_step_with_their_pixels(make_data: MakeData) -> None:
    data = make_data(augmentation=Augmentation())
    batches = of(data.train_dataloader())
    assert all("image" not in batch for batch in batches)
    seen = [data.on_after_batch_transfer(batch, 0) for batch in batches]
    expected = [
        data.collator([data.train_set[item] for item in items])
        for items in BatchSampler(EpochSampler(len(data.train_set), 0), 8, drop_last=False)
    ]
    assert_same_batches(seen, expected)
    assert seen[0].keys() == FIELDS.keys()


def test_validation_is_never_augmented(make_data: MakeData) -> None:
    strong = make_data(augmentation=Augmentation(flip=1.0))
    assert_same_batches(strong.val_dataloader(), make_data().val_dataloader())


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_loader_processes_change_nothing(
    make_data: MakeData, augmentation: Augmentation | None
) -> None:
    alone = make_data(augmentation=augmentation)
    helped = make_data(augmentation=augmentation, num_workers=2)
    assert_same_batches(alone.train_dataloader(), helped.train_dataloader())
    assert_same_batches(alone.val_dataloader(), helped.val_dataloader())


def test_items_are_the_same_kept_or_not(make_data: MakeData) -> None:
    kept, lazy = make_data().train_set, make_data(cache=None).train_set
    assert (kept.pixels is not None, lazy.pixels is not None) == (True, False)
    np.testing.assert_array_equal(lazy[3].image, kept[3].image)
    np.testing.assert_array_equal(lazy.poses_input(), kept.poses_input())
    assert lazy.pixels_sha256() == kept.pixels_sha256()


def test_setting_up_twice_reads_once(make_data: MakeData) -> None:
    data = make_data()
    train_set = data.train_set
    data.setup("validate")
    assert data.train_set is train_set


@pytest.mark.parametrize("kind", ["random", "video"])
def test_test_set_is_apart_from_what_is_trained_and_selected_on(
    make_data: MakeData, kind: str
) -> None:
    two = make_data(split=kind, train_fraction=0.5)
    three = make_data(split=kind, train_fraction=0.5, test_fraction=0.25)
    assert three.train_set.indices == two.train_set.indices
    held_out = [*three.val_set.indices, *three.test_set.indices]
    assert sorted(held_out) == list(two.val_set.indices)
    assert len(three.test_set) > 0
    assert [len(three.manifest[name]) for name in ("val", "test")] == [
        len(three.subset(name)) for name in ("val", "test")
    ]
    validated = {int(i) for batch in three.val_dataloader() for i in batch["index"]}
    assert validated == set(three.val_set.indices)


def test_missing_and_unknown_subsets_are_refused(make_data: MakeData) -> None:
    data = make_data()
    assert data.subset("val") is data.val_set
    with pytest.raises(UserError, match=r"subset=test: .*data\.test_fraction=0\.1"):
        data.subset("test")
    with pytest.raises(UserError, match="subset=all: expected one of train, val, test"):
        data.subset("all")


def test_part_of_a_set_has_the_same_persons_and_pixels(make_data: MakeData) -> None:
    train_set = make_data().train_set
    part = train_set.part([5, 2])
    assert list(part.indices) == [train_set.indices[5], train_set.indices[2]]
    assert part.persons == [train_set.persons[5], train_set.persons[2]]
    np.testing.assert_array_equal(part[1].image, train_set[2].image)
    assert part.pixels is train_set.pixels  # cut once


def test_a_release_is_drawn_where_it_is_missing(
    tmp_path: Path, tokenizer: BertTokenizer, caption_format: CaptionFormat
) -> None:
    root = tmp_path / "drawn"
    drawn = PoseDataModule(tokenizer, caption_format, str(root), synthetic=Synthetic(4, 1))
    drawn.prepare_data()
    drawn.setup()
    assert len(drawn.train_set) + len(drawn.val_set) == 4
    assert drawn.manifest["synthetic"] is True


def test_annotations_may_lie_elsewhere(
    broken_root: Path, tmp_path: Path, make_data: MakeData
) -> None:
    elsewhere = tmp_path / "other.mat"
    (broken_root / mpii.ANNOTATIONS).rename(elsewhere)
    data = make_data(root=str(broken_root), annotations=str(elsewhere))
    assert len(data.persons) == NUM_PERSONS
    assert ReleaseSource(str(broken_root), str(elsewhere)).read().path == elsewhere


def test_a_missing_folder_is_named(make_data: MakeData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no/such"):
        make_data(root=str(tmp_path / "no/such"))


def test_a_missing_image_folder_is_named(make_data: MakeData, broken_root: Path) -> None:
    shutil.rmtree(broken_root / "images")
    with pytest.raises(UserError, match="images: no such folder"):
        make_data(root=str(broken_root))


def test_a_cut_off_image_is_named_before_training(make_data: MakeData, broken_root: Path) -> None:
    path = first_image(broken_root)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=path.name) as caught:
        make_data(root=str(broken_root))
    assert "\n" not in str(caught.value)


def test_an_image_that_breaks_after_the_check_is_named(
    make_data: MakeData, broken_root: Path
) -> None:
    data = make_data(root=str(broken_root), cache=None)
    path = first_image(broken_root)
    path.write_bytes(path.read_bytes()[:2000])
    whole = PoseDataset(data.persons, range(NUM_PERSONS), data.train_set.cutter)
    with pytest.raises(UserError, match=rf"{path.name}: cannot be decoded"):
        whole[0]


def test_whatever_a_decoder_raises_names_the_image(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_data(cache=None).train_set

    def fail(path: Path) -> None:
        raise SyntaxError("broken PNG")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UserError, match=r"jpg: cannot be decoded \(broken PNG\)"):
        dataset[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crop": "face"}, r"data\.crop='face': expected one of full, person"),
        ({"resize": "squash"}, r"data\.resize='squash': expected one of stretch, letterbox"),
        ({"split": "odd"}, "split=odd"),
        ({"reading": "blind"}, "blind"),
        ({"train_fraction": 1.5}, "1.5"),
    ],
)
def test_a_wrong_setting_is_named(
    make_data: MakeData, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_data(**setting)


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


def _see_through(path: Path) -> None:
    with Image.open(path) as image:
        image.convert("RGBA").save(path, "PNG")
    with Image.open(path) as image:
        image.putalpha(100)
        image.save(path, "PNG")


def _sixteen_bits(path: Path) -> None:
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path, "PNG")


@pytest.mark.parametrize("change", [_turned, _see_through, _sixteen_bits])
def test_training_sees_a_file_as_predict_does(
    release_root: Path,
    tmp_path: Path,
    tokenizer: BertTokenizer,
    caption_format: CaptionFormat,
    change: Callable[[Path], None],
) -> None:
    root = shutil.copytree(release_root, tmp_path / "root")
    shutil.rmtree(root / "pixels", ignore_errors=True)
    for path in (root / "images").iterdir():
        change(path)
    data = PoseDataModule(tokenizer, caption_format, str(root))
    data.setup()
    sample, name = data.val_set[0], data.val_set.persons[0].image_name
    shown = read_image(root / "images" / name)
    crop = Crop.of_image(shown.shape[1], shown.shape[0], SIZE)
    assert sample.crop == crop
    np.testing.assert_array_equal(sample.image, crop.cut(Image.fromarray(shown)))


@pytest.mark.parametrize(
    "setting",
    [
        {"crop": "person"},
        {"resize": "letterbox"},
        {"split": "random"},
        {"split_seed": 1},
        {"train_fraction": 0.5},
        {"test_fraction": 0.1},
        {"reading": "annotated"},
    ],
    ids=str,
)
def test_modules_that_would_read_otherwise_share_nothing(
    tokenizer: BertTokenizer, caption_format: CaptionFormat, setting: dict[str, Any]
) -> None:
    plain, other = (
        PoseDataModule(tokenizer, caption_format, "root", **each) for each in ({}, setting)
    )
    assert plain.reads != other.reads
