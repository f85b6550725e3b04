"""From a heap of DICOM files to a volume: order, geometry, copies, gaps, tilt, several volumes, and what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from heldout.data.image import BadFile
from heldout.data.readers import dicom, open_any
from heldout.data.readers.dicom.pixels import load_slice
from tests.data.dicom_toy import enhanced, plane, save, series, voxels


def refused(source, *words, **options):
    with pytest.raises(BadFile) as caught:
        dicom.read_volume(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def as_stored(volume):
    """(slices, rows, columns) of a volume."""
    return volume.image.array[0].transpose(2, 1, 0)


def test_a_series_is_sorted_along_its_normal_and_placed_in_the_patient(tmp_path):
    array = series(tmp_path)
    volume = dicom.read_volume(tmp_path)
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    assert (volume.units, volume.orientation, volume.notes) == ("HU", "LPS", ())
    assert volume.spacing == pytest.approx((0.4, 0.5, 2.0))
    assert volume.image.array.dtype == np.int16
    corner = volume.image.affine @ (7, 5, 4, 1)  # LPS (-10 + 2.8, -20 + 2.5, 38) in RAS
    assert corner[:3] == pytest.approx((7.2, 17.5, 38.0))
    assert np.array_equal(open_any(tmp_path).array, volume.image.array)


def test_a_zip_and_a_list_of_files_give_the_same_volume(tmp_path):
    series(tmp_path / "a")
    files = sorted((tmp_path / "a").iterdir(), reverse=True)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"deep/{path.name}")
        archive.writestr("__MACOSX/junk", b"junk")
    expected = dicom.read_volume(tmp_path / "a").image
    for image in (
        dicom.read_volume(files).image,
        dicom.read_volume(tmp_path / "a.zip").image,
        open_any(tmp_path / "a.zip", dimensions=3),
    ):
        assert np.array_equal(image.array, expected.array)
        assert np.array_equal(image.affine, expected.affine)


def test_a_sagittal_series_counts_to_the_right_as_its_normal_does(tmp_path):
    def sagittal(data, number):
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        data.ImagePositionPatient = [50 - 3 * number, -20, 30]
        return data

    array = series(tmp_path, spoil=sagittal)
    volume = dicom.read_volume(tmp_path)
    assert volume.orientation == "PIR"
    assert volume.spacing == pytest.approx((0.4, 0.5, 3.0))
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)


def test_scouts_and_objects_without_pixels_are_skipped_with_a_note(tmp_path):
    array = series(tmp_path)
    save(plane(voxels()[0], 50, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout.dcm")
    report = plane(voxels()[0], 51)
    del report.PixelData
    save(report, tmp_path / "report.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM at all, but long enough to have a byte 128 " * 9)
    volume = dicom.read_volume(tmp_path)
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    notes = " ".join(volume.notes)
    assert len(volume.notes) == 3
    for words in ("scout.dcm was skipped: it is a scout", "report.dcm was skipped: it has no pixels", "notes.txt"):
        assert words in notes


@pytest.mark.parametrize("shape", [(6, 8), (9, 4)], ids=["of the same shape", "of another shape"])
def test_a_scout_without_its_image_type_is_told_by_where_it_lies(tmp_path, shape):
    def hidden(data, number):
        del data.ImageType, data.SeriesInstanceUID
        return data

    array = series(tmp_path, spoil=hidden)
    upright = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImagePositionPatient": [-10, 0, 40]}
    save(hidden(plane(voxels(shape), 50, **upright), 50), tmp_path / "0.dcm")
    volume = dicom.read_volume(tmp_path, pick="largest")
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    assert any("left out another volume: CT" in note for note in volume.notes)


def test_a_folder_without_images_names_what_it_holds(tmp_path):
    refused(tmp_path, str(tmp_path), "no DICOM image")
    save(plane(voxels()[0], ImageType=["ORIGINAL", "PRIMARY", "SCOUT"]), tmp_path / "scout.dcm")
    refused(tmp_path, str(tmp_path), "it is a scout", "(0008,0008)")
    (tmp_path / "a.txt").write_text("x" * 300)
    refused(tmp_path / "a.txt", "a.txt", "is not a DICOM file")
    refused(tmp_path / "nothing.dcm", "nothing.dcm", "No such file")


def test_identical_copies_are_left_out_with_a_note(tmp_path):
    array = series(tmp_path)
    save(plane(array[2], 2), tmp_path / "copy of 2.dcm")
    save(plane(array[3], 3, SOPInstanceUID="1.2.3.99"), tmp_path / "other uid.dcm")
    volume = dicom.read_volume(tmp_path)
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    assert sum("repeats" in note and "left out" in note for note in volume.notes) == 2


def test_different_pixels_at_one_position_are_refused(tmp_path):
    array = series(tmp_path)
    save(plane(array[2] + 1, 2, SOPInstanceUID="1.2.3.99"), tmp_path / "other.dcm")
    refused(tmp_path, "different pixels at one ImagePositionPatient (0020,0032)", "one slice per position")


@pytest.mark.parametrize(
    ("keyword", "values"), [("EchoTime", (10, 80)), ("AcquisitionNumber", (1, 2)), ("TriggerTime", (0, 40))]
)
def test_volumes_at_the_same_positions_are_told_apart(tmp_path, keyword, values):
    arrays = [voxels(seed=n) for n in range(2)]
    for n, (array, value) in enumerate(zip(arrays, values, strict=True)):
        series(tmp_path / str(n), array, lambda data, _, value=value: setattr(data, keyword, value) or data)
    refused(tmp_path, str(tmp_path), "holds 2 volumes", "pick")
    for n, array in enumerate(arrays):
        volume = dicom.read_volume(tmp_path, pick=n)
        assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
        assert "one of 2 volumes" in " ".join(volume.notes)
    refused(tmp_path, "there is no number 2", pick=2)


def test_orientations_and_series_are_split_and_the_largest_can_be_picked(tmp_path):
    array = series(tmp_path / "axial")
    turn = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [0, 0, 0]}
    save(plane(array[0], 60, **turn), tmp_path / "turned.dcm")
    series(tmp_path / "other", array[:3], lambda data, _: setattr(data, "SeriesInstanceUID", "1.2.4") or data)
    found, _ = dicom.find_series(tmp_path)
    assert [len(one.slices) for one in found] == [5, 3, 1]
    message = refused(tmp_path, "holds 3 volumes", "series 1.2.4", "LPS", "PIR")
    assert "(8, 6, 5)" in message
    volume = dicom.read_volume(tmp_path, pick="largest")
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    assert sum("left out another volume" in note for note in volume.notes) == 2


def test_a_missing_slice_is_refused_reported_or_filled(tmp_path):
    array = series(tmp_path, spoil=lambda data, number: None if number == 2 else data)
    refused(tmp_path, ".dcm", "missing or unevenly spaced", "2 mm x 2, 4 mm x 1", "(0020,0032)", "gaps = 'resample'")
    kept = dicom.read_volume(tmp_path, gaps="report")
    assert kept.image.array.shape[3] == 4
    assert any("4 mm x 1" in note for note in kept.notes)
    filled = dicom.read_volume(tmp_path, gaps="resample")
    stored = as_stored(filled)
    assert filled.spacing[2] == pytest.approx(2.0)
    assert np.array_equal(stored[[0, 1, 3, 4]], array[[0, 1, 3, 4]].astype(int) - 1024)
    middle = (array[1].astype(float) + array[3]) / 2 - 1024
    assert np.abs(stored[2] - middle).max() <= 0.5


def test_positions_that_would_fill_the_memory_are_refused(tmp_path):
    def far(data, number):
        data.ImagePositionPatient = [-10, -20, 2 * number if number < 4 else 1e7]
        return data

    series(tmp_path / "far", spoil=far)
    refused(tmp_path / "far", "lack most of their slices", gaps="resample")

    def flat(data, number):
        data.ImagePositionPatient = [-10, 1000 * number, 2 * number]
        return data

    series(tmp_path / "flat", spoil=flat)
    refused(tmp_path / "flat", "90 degrees away from their normal", "not a tilted gantry")


def test_rounded_positions_are_no_gap(tmp_path):
    def rounded(data, number):
        data.ImagePositionPatient = [-10, -20, round(30 + 0.625 * number, 1)]
        return data

    series(tmp_path, spoil=rounded)
    volume = dicom.read_volume(tmp_path)
    assert volume.spacing[2] == pytest.approx(0.625)
    assert any("off their even places" in note for note in volume.notes)


def tilted(data, number):
    angle = np.radians(20)
    data.ImageOrientationPatient = [1, 0, 0, 0, np.cos(angle).round(7), -np.sin(angle).round(7)]
    data.ImagePositionPatient = [0, 0, 2 * number]
    return data


def test_a_tilted_gantry_is_kept_as_shear_or_corrected(tmp_path):
    shape = (9, 24, 20)
    rows = np.arange(24)[:, None]
    angle = np.radians(20)
    # A plane that stands upright in the patient: its row moves from slice to slice when the gantry is tilted.
    along = 2 * np.sin(angle) / 0.5  # rows per slice by which the position leaves the normal
    array = np.stack([np.where(np.abs(rows - 12 + along * n) < 3, 3000, 1000) for n in range(9)])
    array = np.broadcast_to(array, shape).astype(np.uint16)
    series(tmp_path, array, tilted)
    kept = dicom.read_volume(tmp_path)
    assert any("tilted by 20.0 degrees" in note and "sheared" in note for note in kept.notes)
    assert np.array_equal(as_stored(kept), array.astype(int) - 1024)
    fixed = dicom.read_volume(tmp_path, tilt="correct")
    axes = fixed.image.affine[:3, :3] / np.linalg.norm(fixed.image.affine[:3, :3], axis=0)
    assert np.abs(axes.T @ axes - np.eye(3)).max() < 1e-6
    assert fixed.spacing[2] == pytest.approx(2 * np.cos(angle))
    # Every voxel's value stays where it is in the patient: compare at the corrected grid's center column.
    inverse = np.linalg.inv(kept.image.affine)
    x, y, z = 10, fixed.image.array.shape[2] // 2, 4
    place = inverse @ fixed.image.affine @ (x, y, z, 1)
    assert place[2] == pytest.approx(4, abs=1e-3)
    low = kept.image.array[0, 10, int(np.floor(place[1])), 4]
    high = kept.image.array[0, 10, int(np.floor(place[1])) + 1, 4]
    share = place[1] - np.floor(place[1])
    assert fixed.image.array[0, x, y, z] == pytest.approx(low * (1 - share) + high * share, abs=1)


def test_slices_that_wander_sideways_are_refused(tmp_path):
    def wander(data, number):
        data.ImagePositionPatient = [-10 + (number % 2), -20, 30 + 2 * number]
        return data

    series(tmp_path, spoil=wander)
    refused(tmp_path, "shifted sideways", "(0020,0032)")


def test_slices_without_positions_are_refused_but_one_is_read(tmp_path):
    def lost(data, number):
        del data.ImagePositionPatient
        return data

    array = series(tmp_path, spoil=lost)
    refused(tmp_path, "no ImagePositionPatient (0020,0032)", "order is unknown")
    first = dicom.read_volume(next(iter(sorted(tmp_path.iterdir()))))
    assert np.array_equal(as_stored(first)[0], array[0].astype(int) - 1024)
    assert any("does not state its position" in note for note in first.notes)


def test_an_enhanced_object_has_positions_and_rescale_per_frame(tmp_path):
    array = voxels()
    save(enhanced(array, [1, 2, 3, 4, 5], [8, 6, 4, 2, 0]), tmp_path / "a.dcm")
    volume = dicom.read_volume(tmp_path / "a.dcm")
    expected = array[::-1].astype(int) * np.array([5, 4, 3, 2, 1])[:, None, None]
    assert np.array_equal(as_stored(volume), expected)
    assert volume.spacing == pytest.approx((0.4, 0.5, 2.0))
    assert any("differs between slices" in note for note in volume.notes)
    broken = enhanced(array, [1] * 5, [0, 2, 4, 6, 8])
    del broken.PerFrameFunctionalGroupsSequence[4]
    save(broken, tmp_path / "b.dcm")
    refused(tmp_path / "b.dcm", "NumberOfFrames (0028,0008) = 5 but 4 items")


def test_a_plain_multi_frame_object_keeps_its_order(tmp_path):
    array = voxels()
    data = plane(array[0], NumberOfFrames=5, SpacingBetweenSlices=3)
    for name in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, name)
    data.PixelData = array.tobytes()
    data["PixelData"].VR = "OW"
    volume = dicom.read_volume(save(data, tmp_path / "a.dcm"))
    assert np.array_equal(as_stored(volume), array.astype(int) - 1024)
    assert (volume.orientation, volume.spacing[2]) == ("", pytest.approx(3.0))


def test_slices_can_be_read_one_at_a_time(tmp_path):
    array = series(tmp_path)
    (found,), _ = dicom.find_series(tmp_path)
    assert np.array_equal(load_slice(found.slices[3])[0], array[3].astype(int) - 1024)


def test_a_picture_is_read_for_two_dimensions(tmp_path):
    array = voxels()
    save(plane(array[0]), tmp_path / "a.dcm")
    image = open_any(tmp_path / "a.dcm", dimensions=2)
    assert image.affine is None
    assert np.array_equal(image.array[0], array[0].astype(int) - 1024)
    series(tmp_path / "many")
    with pytest.raises(BadFile, match="choose a task for 3D"):
        open_any(tmp_path / "many", dimensions=2)


def test_the_index_of_a_tree_tells_what_every_file_is(tmp_path, capsys):
    series(tmp_path / "a")
    save(plane(voxels()[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "b" / "scout.dcm")
    (tmp_path / "b" / "text.txt").write_text("hello")
    (tmp_path / "b" / "cut.dcm").write_bytes(next((tmp_path / "a").iterdir()).read_bytes()[:300])
    entries = list(dicom.index_tree(tmp_path, progress=True))
    assert [entry.path.name for entry in entries[5:]] == ["cut.dcm", "scout.dcm", "text.txt"]
    assert {(entry.patient, entry.series, entry.rows, entry.columns, entry.frames) for entry in entries[:5]} == {
        ("P1", "1.2.3", 6, 8, 1)
    }
    assert [entry.damaged for entry in entries] == [False] * 5 + [True, False, False]
    assert all(
        words in entry.problem for words, entry in zip(("truncated", "scout", "not a DICOM"), entries[5:], strict=True)
    )
    assert "8/8" in capsys.readouterr().err
    with pytest.raises(BadFile, match="is not a folder"):
        list(dicom.index_tree(tmp_path / "c"))
