"""Options of a table's DICOM series: which volume, gaps, tilt."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.config import BaseConfig
from heldout.data.cases import open_dataset
from heldout.data.image import BadFile
from heldout.errors import UserError
from tests.data.dicom_toy import SHAPE, plane, save, series, voxels
from tests.data.toy import get_source


def source_of(folder, spoil=None, **options):
    array = series(folder / "a", spoil=spoil) if not (folder / "a").exists() else None
    (folder / "cases.csv").write_text("id,path,label\nc1,a,1\n")
    return get_source("table", folder, {"dimensions": 3, **options}), array


def image_of(source):
    return source.read_image(source.index().iloc[0])


def tilted(data, number):
    angle = np.radians(20)
    data.ImageOrientationPatient = [1, 0, 0, 0, np.cos(angle).round(7), -np.sin(angle).round(7)]
    data.ImagePositionPatient = [0, 0, 2 * number]
    return data


def test_a_tilt_is_kept_or_corrected(tmp_path):
    kept = image_of(source_of(tmp_path, tilted)[0])
    upright = image_of(source_of(tmp_path, tilt="correct")[0])
    for image, square in ((kept, False), (upright, True)):
        axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        assert bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-6) is square
    assert kept.full_shape == SHAPE[::-1]


def gap(data, number):
    data.ImagePositionPatient = [-10.0, -20.0, 30.0 + 2 * number + (2 if number > 2 else 0)]
    return data


def test_a_gap_is_refused_with_the_option_reported_or_resampled(tmp_path):
    source, array = source_of(tmp_path, gap)
    with pytest.raises(BadFile, match=r"missing or unevenly spaced slices .* with the option gaps = 'resample'"):
        image_of(source)
    reported = image_of(source_of(tmp_path, gaps="report")[0])
    assert np.array_equal(reported.array[0].transpose(2, 1, 0), array.astype(int) - 1024)
    assert np.linalg.norm(reported.affine[:3, 2]) == pytest.approx(2.5)
    assert image_of(source_of(tmp_path, gaps="resample")[0]).full_shape == (*SHAPE[:0:-1], SHAPE[0] + 1)


def test_one_of_several_volumes_is_picked(tmp_path):
    source, array = source_of(tmp_path)
    other = voxels((3, *SHAPE[1:]), seed=1)
    for number, values in enumerate(other):
        save(plane(values, number, SeriesInstanceUID="1.2.4"), tmp_path / "a" / f"other{number}.dcm")
    with pytest.raises(BadFile, match=r"holds 2 volumes .*choose it with the option pick"):
        image_of(source)
    for pick, expected in (("largest", array), (0, array), (1, other)):
        image = image_of(source_of(tmp_path, pick=pick)[0])
        assert np.array_equal(image.array[0].transpose(2, 1, 0), expected.astype(int) - 1024)
    with pytest.raises(BadFile, match="holds 2 volumes: there is no number 2"):
        image_of(source_of(tmp_path, pick=2)[0])


def test_cases_to_predict_are_read_leniently_but_as_the_options_say(tmp_path):
    source, _ = source_of(tmp_path, gap)
    assert source.read_image(source.index().iloc[0], salvage=True).full_shape[2] == SHAPE[0] + 1
    reported, _ = source_of(tmp_path, gaps="report")
    assert reported.read_image(reported.index().iloc[0], salvage=True).full_shape[2] == SHAPE[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tilt": "fix"}, "source_options tilt = 'fix': choose one of 'keep', 'correct'"),
        ({"gaps": True}, "source_options gaps = True: choose one of 'refuse', 'report', 'resample'"),
        ({"pick": "first"}, "pick = 'first': choose 'only', 'largest' or the number of a volume, 0 for the first"),
        ({"pick": -1}, "pick = -1: choose 'only', 'largest' or the number"),
        ({"pick": True}, "pick = True: choose 'only', 'largest' or the number"),
        ({"tilt": "correct", "dimensions": 2}, "source_options tilt is for volumes: set dimensions = 3"),
    ],
)
def test_a_value_that_is_none_of_the_allowed_is_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        source_of(tmp_path, **options)


def test_an_experiment_checks_and_reads_its_series_with_the_options(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    lines = ["id,path,label"]
    for number in range(4):
        folder = tmp_path / "raw/scans" / f"c{number}"
        folder.mkdir(parents=True)
        for index, values in enumerate(voxels(seed=number)):
            save(gap(plane(values, index, PatientID=f"P{number}"), index), folder / f"{index}.dcm")
        lines.append(f"c{number},c{number},{number % 2}")
    (tmp_path / "raw/scans/cases.csv").write_text("\n".join(lines))
    common = {"dataset": "scans", "source": "table", "fold_count": 2, "test_fraction": 0.0}
    with pytest.raises(UserError, match="the option gaps = 'resample'"):
        open_dataset(BaseConfig(**common, source_options={"dimensions": 3}))
    dataset = open_dataset(BaseConfig(**common, source_options={"dimensions": 3, "gaps": "resample"}))
    assert dataset.read_image("c0").full_shape[2] == SHAPE[0] + 1
