"""The reader against small .mat files written by hand, one quirk each, and against real rows."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from mat_rows import EMPTY, Reader, annorect, one_line, point, points, row, struct_array

from blippose import mpii
from blippose.errors import UserError
from blippose.mpii import Person, Release, read_release
from blippose.readings import select


def only(release: Release) -> Person:
    (person,) = (person for row in release.rows for person in row.persons)
    return person


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
    assert len(select(release)) == 1


def test_source_tells_a_synthetic_release(read: Reader) -> None:
    assert read(row(), source="synthetic").synthetic
    assert not read(row()).synthetic


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


def test_real_joints_agree_with_the_hrnet_annotations(real: Release) -> None:
    """HRNet's JSON is 1-based with six decimals, the .mat here has three."""
    entries = json.loads((SHARED / "mpii" / "test_mpii.json").read_text())
    rows = {row.name: row for row in real.rows}
    assert len(entries) == 5
    for entry in entries:
        center = tuple(value - 1 for value in entry["center"])
        (person,) = (p for p in rows[entry["image"]].persons if p.center == center)
        assert person.pose.valid.tolist() == [bool(v) for v in entry["joints_vis"]]
        expected = np.array(entry["joints"])[person.pose.valid] - 1
        np.testing.assert_allclose(person.pose.xy[person.pose.valid], expected, atol=1e-3)
        assert person.scale == pytest.approx(entry["scale"], abs=1e-3)


def test_real_neck_and_head_top_carry_no_flag(real: Release) -> None:
    flags = {flag for row in real.rows for person in row.persons for flag in person.flags[8:10]}
    assert flags == {None}


def test_real_neck_to_head_top_is_four_thirds_of_the_head_size(real: Release) -> None:
    """Source: both ends lie on the box's mid line, 0.8 x the diagonal apart; size is 0.6 x."""
    for person in select(real, "annotated"):
        neck, top = person.pose.xy[8:10]
        assert np.hypot(*(neck - top)) == pytest.approx(person.head_size * 0.8 / 0.6, abs=1.5)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_is_none_is_none(read: Reader, scale: float) -> None:
    """A crop of no side would show one colour."""
    assert only(read(row(annorect(points(), scale=scale)))).scale is None


def test_a_releases_hash_is_of_the_files_bytes(read: Reader) -> None:
    release = read(row())
    assert release.sha256 == hashlib.sha256(release.path.read_bytes()).hexdigest()
