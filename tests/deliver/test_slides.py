"""A slide from its tiles to run lengths, by a network that was trained on tiles; needs the extra ``large``."""

import csv
import shutil
import sys

import numpy as np
import pytest

from heldout.cli import run
from heldout.data.rle import RunLengths

pytestmark = [pytest.mark.extras, pytest.mark.journey]
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")

EXPERIMENT = '''"""Glands."""

from heldout.tasks.segment import Segment2D


class Exp998(Segment2D):
    dataset = "glands"
    source = "slides"
    source_options = {"tile": 64, "background": 5}
    channels = 3
    image_size = (32, 32)
    fold_count = 2
    test_fraction = 0.0
    near_duplicates = False
    submission = "rle"
    sample_submission = "sample_submission.csv"
    encoder = "tu-resnet10t"
    epochs = 2
    batch_size = 8
    workers = 0
'''


def test_a_slide_is_predicted_by_tile_submitted_and_predicted_by_a_kernel(tmp_path, monkeypatch, capsys):
    folder, generator = tmp_path / "input" / "glands", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(5):
        picture, mask = generator.integers(150, 200, (192, 150, 3)).astype(np.uint8), np.zeros((192, 150), np.uint8)
        mask[40:120, 30 + 8 * number : 100] = 1
        picture[mask > 0] -= 100
        tifffile.imwrite(folder / f"s{number}.tif", picture, tile=(64, 64))
        tifffile.imwrite(folder / f"s{number}_mask.tif", mask, tile=(64, 64))
    (folder / "s4_mask.tif").rename(tmp_path / "secret.tif")
    lines = ["id,path,mask", *(f"s{n},s{n}.tif,s{n}_mask.tif" for n in range(4)), "s4,s4.tif,"]
    (folder / "cases.csv").write_text("\n".join(lines))
    (folder / "sample_submission.csv").write_text("id,predicted\ns4,1 1\n")
    (tmp_path / "exps").mkdir()
    (tmp_path / "exps" / "__init__.py").touch()
    (tmp_path / "exps" / "exp998.py").write_text(EXPERIMENT)
    (tmp_path / "new").mkdir()
    shutil.copy(folder / "s3.tif", tmp_path / "new" / "s3.tif")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "exps" or name.startswith("exps.")]:
        monkeypatch.delitem(sys.modules, name)
    assert run(["train", "exp998", "--fold", "0"]) == 0
    words = ["predict", "exp998", "--input", str(tmp_path / "new"), "--output", str(tmp_path / "out")]
    assert run(words) == 0, capsys.readouterr().err
    with (tmp_path / "out" / "masks.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    assert (row["name"], row["class"]) == ("s3.tif", "foreground")
    found = RunLengths().decode(row["rle"], (192, 150))
    truth = tifffile.imread(folder / "s3_mask.tif")
    assert (found & truth).sum() > 0.9 * truth.sum()  # two epochs find the gland, and some of what is around it
    assert found.mean() < 0.6
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("name,p_foreground,status,note\ns3.tif,")

    assert run(["blend", "exp998", "--name", "slides", "--sampler", "equal"]) == 0
    assert run(["freeze", "slides"]) == 0
    assert run(["submit", "slides"]) == 0, capsys.readouterr().err
    submission = tmp_path / "submissions" / "slides.csv"
    with submission.open() as lines:
        (row,) = csv.DictReader(lines)
    assert list(row) == ["id", "predicted"]
    assert row["id"] == "s4"
    found, truth = RunLengths().decode(row["predicted"], (192, 150)), tifffile.imread(tmp_path / "secret.tif")
    assert (found & truth).sum() > 0.9 * truth.sum()
    assert run(["check-submission", "slides", str(submission)]) == 0, capsys.readouterr().err
    assert run(["kernel", "slides"]) == 0, capsys.readouterr().err  # its replay compares the file with this one's way
