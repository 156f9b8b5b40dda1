"""The reader against small .mat files written by hand, one quirk each, and against real rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blippose import mpii, readings, release_images
from blippose.errors import UserError
from blippose.mpii import Person, Release, read_release
from blippose.readings import READINGS, select

SHARED = Path(__file__).parents[2] / "shared" / "mpii"
EMPTY = np.empty((0, 0))
# The order in which MPII stores points.
FILE_ORDER = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)

needs_real_rows = pytest.mark.skipif(not SHARED.is_dir(), reason="real MPII rows are not at hand")


def struct_array(structs: Sequence[dict[str, Any]]) -> Any:
    """A Matlab struct array; a field that one struct lacks is [] there, as Matlab has it."""
    if not structs:
        return EMPTY
    keys = list(dict.fromkeys(key for struct in structs for key in struct))
    array = np.empty((1, len(structs)), dtype=[(key, object) for key in keys])
    for i, struct in enumerate(structs):
        array[0, i] = tuple(struct.get(key, EMPTY) for key in keys)
    return array


def cells(values: Sequence[Any]) -> Any:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def point(joint: int, visible: Any = 1, x: Any = None, y: Any = None) -> dict[str, Any]:
    """Joint j lies at 1-based (100 + j, 200 + j). `visible=None` leaves the field out."""
    x, y = 100 + joint if x is None else x, 200 + joint if y is None else y
    flag = {} if visible is None else {"is_visible": visible}
    return {"x": x, "y": y, "id": joint, **flag}


def points(**flags: Any) -> list[dict[str, Any]]:
    """All sixteen in the file's order, ids 8 and 9 with an empty flag; `j3=0` sets joint 3's."""
    default = {8: EMPTY, 9: EMPTY}
    return [point(j, flags.get(f"j{j}", default.get(j, 1))) for j in FILE_ORDER]


def annorect(points: Sequence[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    rect = {"x1": 11, "y1": 21, "x2": 14, "y2": 25, "scale": 2.5, "objpos": {"x": 51, "y": 61}}
    if points is not None:
        rect["annopoints"] = {"point": struct_array(points)}
    return {**rect, **fields}


def row(*annorects: dict[str, Any], train: int = 1, single: Any = EMPTY, **fields: Any) -> Any:
    return {"annorects": annorects, "train": train, "single": single, **fields}


Reader = Callable[..., Release]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Writes the rows as a release and reads them back."""

    def write_then_read(*rows: dict[str, Any], **fields: Any) -> Release:
        path = tmp_path / mpii.ANNOTATIONS
        annolist = [
            {
                "image": {"name": r.get("name", f"{i:03}.jpg")},
                "annorect": struct_array(r["annorects"]),
                "vididx": r.get("video", i + 1),
            }
            for i, r in enumerate(rows)
        ]
        release = {
            "annolist": struct_array(annolist),
            "img_train": np.array([[r["train"] for r in rows]], dtype=np.uint8),
            "single_person": cells([r["single"] for r in rows]),
            "act": struct_array([{"act_name": r.get("act", EMPTY)} for r in rows]),
            **fields,
        }
        scipy.io.savemat(path, {"RELEASE": {k: v for k, v in release.items() if v is not None}})
        return read_release(path)

    return write_then_read


def only(release: Release) -> Person:
    (person,) = (person for row in release.rows for person in row.persons)
    return person


def kept(release: Release) -> dict[str, bool]:
    return {name: bool(count) for name, count in readings.reading_counts(release).items()}


def test_points_go_by_id_and_become_0_based(read: Reader) -> None:
    xy_img = only(read(row(annorect(points())))).pose.xy
    expected = np.arange(16)[:, None] + [99.0, 199.0]
    np.testing.assert_array_equal(xy_img, expected)


@given(order=st.permutations(range(16)))
def test_order_of_points_does_not_matter(order: list[int]) -> None:
    # Through the struct that scipy makes, not a file each time: hypothesis draws many.
    structs = [_squeezed(point(joint)) for joint in order]
    xy_img, _ = mpii._joints(structs)
    np.testing.assert_array_equal(xy_img, np.arange(16)[:, None] + [99.0, 199.0])


def _squeezed(struct: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"s": struct})
    return scipy.io.loadmat(buffer, squeeze_me=True, struct_as_record=False)["s"]


def test_absent_point_is_an_invalid_joint(read: Reader) -> None:
    person = only(read(row(annorect([p for p in points() if p["id"] != 3]))))
    assert np.flatnonzero(~person.pose.valid).tolist() == [3]
    assert person.flags[3] is None


def test_lone_point_is_a_person(read: Reader) -> None:
    person = only(read(row(annorect([point(9)]))))
    assert np.flatnonzero(person.pose.valid).tolist() == [9]


@pytest.mark.parametrize("broken", [{"x": EMPTY}, {"y": EMPTY}, {"x": np.nan}])
def test_point_without_coordinates_is_absent(read: Reader, broken: dict[str, Any]) -> None:
    person = only(read(row(annorect([point(0), {**point(1), **broken}]))))
    assert np.flatnonzero(person.pose.valid).tolist() == [0]


@pytest.mark.parametrize("joint", [16, -1, 2.5])
def test_point_whose_id_is_no_joint_is_left_out(read: Reader, joint: float) -> None:
    person = only(read(row(annorect([point(0), {**point(1), "id": joint}]))))
    assert np.flatnonzero(person.pose.valid).tolist() == [0]


def test_first_of_two_points_with_one_id_counts(read: Reader) -> None:
    person = only(read(row(annorect([point(4, x=7, y=8), point(4, x=70, y=80)]))))
    assert person.pose.xy[4].tolist() == [6.0, 7.0]


def test_head_top_above_the_frame_stays_negative(read: Reader) -> None:
    person = only(read(row(annorect([point(9, x=20.5, y=-12.25), point(8)]))))
    assert person.pose.xy[9].tolist() == [19.5, -13.25]


def test_uint8_coordinate_of_zero_does_not_wrap(read: Reader) -> None:
    person = only(read(row(annorect([point(0, x=np.uint8(0), y=np.uint8(0)), point(1)]))))
    assert person.pose.xy[0].tolist() == [-1.0, -1.0]


@pytest.mark.parametrize(
    ("stored", "flag"),
    [
        (np.uint8(1), True),
        (np.uint8(0), False),
        ("1", True),
        ("0", False),
        (np.True_, True),
        (np.False_, False),
        (EMPTY, None),
        ("", None),
        (None, None),
    ],
)
def test_flag_is_read_whatever_its_type(read: Reader, stored: Any, flag: bool | None) -> None:
    person = only(read(row(annorect([point(2, stored), point(3, stored)]))))
    assert person.flags[2:4] == (flag, flag)


def test_several_persons_keep_their_entry(read: Reader) -> None:
    release = read(row(annorect([point(0)]), annorect(), annorect([point(1)])))
    assert [person.person_index for person in release.rows[0].persons] == [0, 2]
    assert release.rows[0].num_annorects == 3


def test_row_without_annorects_has_no_persons(read: Reader) -> None:
    release = read(row(), row(annorect(points())))
    assert (release.rows[0].num_annorects, release.rows[0].persons) == (0, ())
    assert only(release).image_index == 1


@pytest.mark.parametrize("annopoints", [EMPTY, {"point": EMPTY}])
def test_head_box_alone_is_no_annotated_person(read: Reader, annopoints: Any) -> None:
    release = read(row(annorect(annopoints=annopoints)), row(annorect()))
    assert [row.persons for row in release.rows] == [(), ()]
    assert [row.num_annorects for row in release.rows] == [1, 1]


def test_head_size_is_six_tenths_of_the_diagonal(read: Reader) -> None:
    person = only(read(row(annorect(points()))))
    assert person.head_box == (10.0, 20.0, 13.0, 24.0)
    assert person.head_size == pytest.approx(0.6 * 5)


def test_center_is_0_based_and_scale_is_as_stored(read: Reader) -> None:
    person = only(read(row(annorect(points()))))
    assert (person.center, person.scale) == ((50.0, 60.0), 2.5)


def test_empty_box_scale_and_objpos_are_none(read: Reader) -> None:
    fields = dict.fromkeys(["x1", "scale", "objpos"], EMPTY)
    person = only(read(row(annorect(points(), **fields))))
    assert (person.head_box, person.head_size) == (None, 0.0)
    assert (person.scale, person.center) == (None, None)


def test_absent_box_scale_and_objpos_are_none(read: Reader) -> None:
    person = only(read(row({"annopoints": {"point": struct_array(points())}})))
    assert (person.head_box, person.head_size) == (None, 0.0)
    assert (person.scale, person.center) == (None, None)


def test_video_and_activity_are_the_files_own(read: Reader) -> None:
    release = read(
        row(annorect(points()), video=7, act="curling"),
        row(annorect(points()), video=EMPTY),
    )
    known, unknown = (row.persons[0] for row in release.rows)
    assert (known.video, known.activity) == (7, "curling")
    assert (unknown.video, unknown.activity) == (None, None)


def test_release_of_one_row_reads_like_any(read: Reader) -> None:
    release = read(row(annorect(points()), annorect(), single=np.array([[1, 2]])))
    assert release.rows[0].is_train
    assert release.rows[0].single_person == (0, 1)


def test_release_without_single_person_and_act_reads(read: Reader) -> None:
    release = read(row(annorect(points())), row(), single_person=None, act=None)
    assert release.rows[0].single_person == ()
    assert kept(release)["visible"]


def test_source_tells_a_synthetic_release(read: Reader) -> None:
    assert read(row(), source="synthetic").synthetic
    assert not read(row()).synthetic


def test_complete_visible_person_is_kept_by_all_but_strict(read: Reader) -> None:
    release = read(row(annorect(points()), single=1))
    assert kept(release) == {name: name != "strict" for name in READINGS}


def test_sixteen_literal_ones_are_kept_by_strict(read: Reader) -> None:
    release = read(row(annorect(points(j8=1, j9="1"))))
    assert kept(release)["strict"]


@pytest.mark.parametrize("hidden", [np.uint8(0), "0"])
def test_hidden_joint_is_kept_by_annotated_alone(read: Reader, hidden: Any) -> None:
    release = read(row(annorect(points(j5=hidden)), single=1))
    assert [name for name, keeps in kept(release).items() if keeps] == ["annotated"]


def test_missing_joint_is_kept_by_none(read: Reader) -> None:
    release = read(row(annorect(points()[:-1]), single=1))
    assert not any(kept(release).values())


def test_second_annorect_without_points_is_refused_by_one_annorect(read: Reader) -> None:
    keeps = kept(read(row(annorect(points()), annorect())))
    assert (keeps["visible"], keeps["one_annorect"]) == (True, False)


def test_single_person_picks_its_entry_among_several(read: Reader) -> None:
    release = read(row(annorect([point(0)]), annorect(points()), single=2))
    assert not kept(release)["visible"]
    assert [p.person_index for p in select(release, "single_person")] == [1]


@pytest.mark.parametrize("single", [EMPTY, np.array([[1, 2]]), 3])
def test_single_person_needs_one_annotated_entry(read: Reader, single: Any) -> None:
    release = read(row(annorect(points()), annorect(points()), annorect(), single=single))
    assert select(release, "single_person") == ()


@pytest.mark.parametrize("reading", READINGS)
def test_test_rows_are_never_kept(read: Reader, reading: str) -> None:
    release = read(row(annorect(points(j8=1, j9=1)), train=0, single=1))
    assert select(release, reading) == ()


def test_filter_steps_count_what_each_leaves(read: Reader) -> None:
    whole, half = annorect(points()), annorect(points()[:4])
    release = read(
        row(whole, train=0),
        row(),
        row(whole, half),
        row(half),
        row(annorect(points(j0=0))),
        row(whole),
    )
    assert [(step.images, step.persons) for step in readings.filter_steps(release)] == [
        (6, 6),  # rows
        (5, 5),  # of train
        (4, 5),  # with an annotated person
        (3, 3),  # with exactly one
        (2, 2),  # with all 16 points
        (1, 1),  # no flag that says 0
    ]


@pytest.mark.parametrize("reading", READINGS)
def test_last_filter_step_counts_what_select_keeps(read: Reader, reading: str) -> None:
    release = read(
        row(annorect(points()), single=1),
        row(annorect(points(j8=1, j9=1)), annorect(), single=1),
        row(annorect(points(j1=0)), annorect(points()), single=2),
    )
    assert readings.filter_steps(release, reading)[-1].persons == len(select(release, reading))


def test_unknown_reading_names_the_choices(read: Reader) -> None:
    with pytest.raises(UserError, match=r"reading=all: .*visible, annotated, .*strict"):
        select(read(row()), "all")


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_missing_annotations_say_what_and_whence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file") as error:
        read_release(tmp_path / "nowhere.mat")
    assert "nowhere.mat" in one_line(error)
    assert "human-pose.mpi-inf.mpg.de" in one_line(error)


def test_folder_instead_of_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder.*mpii_human_pose_v1_u12_1\.mat"):
        read_release(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [True, False])
def test_cut_off_file_is_refused(tmp_path: Path, share: float, compressed: bool) -> None:
    whole, cut = tmp_path / "whole.mat", tmp_path / "cut.mat"
    annolist = struct_array([{"image": {"name": f"{i}.jpg"}} for i in range(200)])
    release = {"annolist": annolist, "img_train": np.zeros(200)}
    scipy.io.savemat(whole, {"RELEASE": release}, do_compression=compressed)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"cut\.mat") as error:
        read_release(cut)
    assert one_line(error)


def test_file_that_is_no_mat_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.mat"
    path.write_text("<html>404 Not Found</html>" * 50)
    with pytest.raises(UserError, match=r"page\.mat") as error:
        read_release(path)
    assert one_line(error)


def test_reader_error_of_many_lines_becomes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("first\n  second")

    path = tmp_path / "odd.mat"
    path.touch()
    monkeypatch.setattr(scipy.io, "loadmat", fail)
    with pytest.raises(UserError, match="first second") as error:
        read_release(path)
    assert one_line(error)


def test_matlab_73_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "new.mat"
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    path.write_bytes(header.ljust(512, b"\x00") + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UserError, match=r"new\.mat: a Matlab v7\.3 \(HDF5\) file") as error:
        read_release(path)
    assert one_line(error)


def test_mat_without_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.mat"
    scipy.io.savemat(path, {"joints": np.zeros(3)})
    with pytest.raises(UserError, match=r"other\.mat: holds no variable RELEASE"):
        read_release(path)


@pytest.mark.parametrize(
    "release",
    [
        np.zeros(3),
        {"img_train": np.ones(2)},
        {"annolist": struct_array([{"image": EMPTY}] * 2), "img_train": np.ones(2)},
        {"annolist": struct_array([{"image": {"name": "a"}}] * 2), "img_train": np.ones(3)},
    ],
)
def test_release_of_another_layout_is_refused(tmp_path: Path, release: Any) -> None:
    path = tmp_path / "odd.mat"
    scipy.io.savemat(path, {"RELEASE": release})
    with pytest.raises(UserError, match=r"odd\.mat: RELEASE is not laid out as MPII's") as error:
        read_release(path)
    assert one_line(error)


@pytest.fixture
def persons(read: Reader) -> tuple[Person, ...]:
    """One person in each of 000.jpg to 004.jpg."""
    return select(read(*[row(annorect(points())) for _ in range(5)]))


@pytest.fixture
def images(tmp_path: Path, persons: tuple[Person, ...]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for person in persons:
        Image.fromarray(noise).save(folder / person.image_name)
    return folder


def test_sound_images_pass(persons: tuple[Person, ...], images: Path) -> None:
    release_images.check_images(persons, images)
    assert release_images.missing_images(persons, images) == []


def test_missing_folder_is_named(persons: tuple[Person, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; expected the 5 images"):
        release_images.check_images(persons, tmp_path / "nowhere")


def test_absent_images_are_counted_and_the_first_named(
    persons: tuple[Person, ...], images: Path
) -> None:
    for name in ("000.jpg", "001.jpg", "003.jpg", "004.jpg"):
        (images / name).unlink()
    with pytest.raises(UserError, match=r"4 of 5 .* \(000\.jpg, 001\.jpg, 003\.jpg, \.\.\.\)"):
        release_images.check_images(persons, images)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-40],
        lambda data: b"<html>404</html>",
        lambda data: bytes(len(data)),
    ],
)
def test_damaged_image_is_named(
    persons: tuple[Person, ...], images: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = images / "002.jpg"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"1 of 5 images are empty, .* \(002\.jpg\)") as error:
        release_images.check_images(persons, images)
    assert one_line(error)


def test_png_with_a_wrong_checksum_is_named(persons: tuple[Person, ...], images: Path) -> None:
    path, buffer = images / "002.jpg", io.BytesIO()
    Image.open(path).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"\(002\.jpg\)"):
        release_images.check_images(persons, images)


def test_bytes_after_the_end_of_a_jpeg_are_no_damage(
    persons: tuple[Person, ...], images: Path
) -> None:
    path = images / "002.jpg"
    path.write_bytes(path.read_bytes() + bytes(64))
    release_images.check_images(persons, images)


@pytest.fixture(scope="module")
def real() -> Release:
    return read_release(SHARED / "mini_release.mat")


@needs_real_rows
def test_real_rows_leave_the_counts_of_the_raw_file(real: Release) -> None:
    assert [step.images for step in readings.filter_steps(real)] == [106, 102, 100, 55, 30, 14]
    assert readings.reading_counts(real) == {
        "visible": 14,
        "annotated": 30,
        "one_annorect": 14,
        "single_person": 14,
        "strict": 0,
    }


@needs_real_rows
def test_real_joints_agree_with_the_hrnet_annotations(real: Release) -> None:
    """HRNet's JSON is 1-based with six decimals, the .mat here has three."""
    entries = json.loads((SHARED / "test_mpii.json").read_text())
    rows = {row.name: row for row in real.rows}
    assert len(entries) == 5
    for entry in entries:
        center = tuple(value - 1 for value in entry["center"])
        (person,) = (p for p in rows[entry["image"]].persons if p.center == center)
        assert person.pose.valid.tolist() == [bool(v) for v in entry["joints_vis"]]
        expected = np.array(entry["joints"])[person.pose.valid] - 1
        np.testing.assert_allclose(person.pose.xy[person.pose.valid], expected, atol=1e-3)
        assert person.scale == pytest.approx(entry["scale"], abs=1e-3)


@needs_real_rows
def test_real_neck_and_head_top_carry_no_flag(real: Release) -> None:
    flags = {flag for row in real.rows for person in row.persons for flag in person.flags[8:10]}
    assert flags == {None}


@needs_real_rows
def test_real_neck_to_head_top_is_four_thirds_of_the_head_size(real: Release) -> None:
    """Source: both ends lie on the box's mid line, 0.8 x the diagonal apart; size is 0.6 x."""
    for person in select(real, "annotated"):
        neck, top = person.pose.xy[8:10]
        assert np.hypot(*(neck - top)) == pytest.approx(person.head_size * 0.8 / 0.6, abs=1.5)
