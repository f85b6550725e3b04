"""Grids of a dataset before and after preparation, and patches whose axes lie across them."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.data.cases import open_dataset
from heldout.data.grids import check_axes, check_patch, count_windows, describe_grids
from heldout.data.image import Image
from heldout.errors import UserError
from heldout.tasks import Segment2D, Segment3D
from tests.data import toy

SHEARED = np.array([[1.0, 0, 0, 0], [0, 1.0, 0.3, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])  # a tilted gantry
THIN = np.array([[-1.0, 0, 0, 0], [0, 0, 6.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])  # coronal slices: file axes L, I, A


def create(**fields):
    base = {"dataset": "toys", "source": "toy", "fold_count": 2, "test_fraction": 0.0, "near_duplicates": False}
    options = {"classes": "big", "kind": "segmentation", "dimensions": 3}
    return Segment3D.create(overrides={**base, "source_options": options, "normalize": "unit", **fields})


def test_a_patch_across_the_slices_is_refused_with_the_order_that_fits():
    config = create(patch_size=(96, 96, 5))
    with pytest.raises(UserError, match=r"336x5x384 voxels .* instead of 42: set patch_size = \(96, 5, 96\)"):
        check_patch(config, [(336, 5, 384)] * 3)
    check_patch(create(patch_size=(96, 5, 96)), [(336, 5, 384)])


@pytest.mark.parametrize("shape", [(336, 384, 5), (90, 90, 4), (40, 40, 40), (200, 96, 96)])
def test_patches_that_fit_or_exceed_small_cases_pass(shape):
    check_patch(create(patch_size=(96, 96, 5)), [shape])


def test_pictures_and_experiments_without_patches_pass():
    check_patch(create(), [(336, 5, 384)])
    check_patch(Segment2D.create(overrides={"patch_size": (64, 64)}), [(50, 300)])


@pytest.fixture
def with_affine(monkeypatch, tmp_path):
    """Writes six volumes of 24 x 20 ... 25 x 5 voxels with an affine."""

    def write(affine):
        folder, random = toy.install(monkeypatch, tmp_path), np.random.default_rng(0)
        rows = [{"case_id": f"c{n}", "patient_id": f"c{n}"} for n in range(6)]
        images = {
            row["case_id"]: random.integers(0, 200, (1, 24, 20 + n, 5)).astype(np.uint8) for n, row in enumerate(rows)
        }
        masks = {key: (image > 100).astype(np.uint8) for key, image in images.items()}
        toy.write_toy(folder, rows, images, masks)
        read = toy.Toy.read_image
        monkeypatch.setattr(
            toy.Toy, "read_image", lambda self, row, **options: Image(read(self, row, **options).array, affine)
        )

    return write


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"mask_details": ("surface_dice:2",)}, "mask_details"), ({"metric": "surface_dice:2"}, "metric")],
)
def test_areas_of_surfaces_of_sheared_volumes_are_refused_before_training(with_affine, fields, field):
    with_affine(SHEARED)
    config = create(**fields)
    dataset = open_dataset(config)
    with pytest.raises(UserError, match=rf"{field}: surface_dice:2 needs .* case c\d are sheared: name nsd:2 instead"):
        check_axes(config, dataset.source, dataset.cases)
    check_axes(create(mask_details=("nsd:2",)), dataset.source, dataset.cases)


def test_areas_of_surfaces_of_upright_volumes_are_measured(with_affine):
    with_affine(THIN)
    config = create(mask_details=("surface_dice:2",))
    dataset = open_dataset(config)
    check_axes(config, dataset.source, dataset.cases)


def test_folds_refuses_a_patch_that_training_would_refuse(with_affine):
    with_affine(THIN)
    config = create(patch_size=(22, 22, 2), overlap=0.5)
    with pytest.raises(
        UserError, match=r"lies across prepared cases of 24x5x22 voxels .*: set patch_size = \(22, 2, 22\)"
    ):
        describe_grids(open_dataset(config), config)


def test_the_grids_are_described_before_and_after(with_affine):
    with_affine(THIN)
    config = create(patch_size=(16, 4, 16), overlap=0.5)
    lines = describe_grids(open_dataset(config), config)
    assert lines[0] == "6 training cases as read: 24 x 20-25 x 5, 1 x 1 x 6 mm in the first 3, LIA"
    assert lines[1] == "as prepared: 24 x 5 x 20-25, 1 x 6 x 1 mm, RAS"
    assert lines[2].startswith("windows a case in prediction: ")
    assert count_windows((24, 5, 25), (16, 4, 16), 0.5) == int(lines[2].rpartition(" ")[2])
