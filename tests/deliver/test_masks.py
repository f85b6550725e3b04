"""Masks keep the grid of what they were predicted from."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import cv2
import nibabel
import numpy as np
import pytest

from heldout.blend.apply import Blended
from heldout.blend.records import Pooling, Postprocess
from heldout.deliver.masks import check_names, mask_files
from heldout.deliver.predict_folder import predict_folder
from heldout.errors import UserError

OBLIQUE = np.array([[-0.9, 0.1, 0, 30], [0.1, 1.9, 0.3, -20], [0, -0.2, 3.1, 5], [0, 0, 0, 1]])


def saved(tmp_path, array, *, sform=1, qform=0):
    image = nibabel.Nifti1Image(array, None)
    image.set_sform(OBLIQUE, sform)
    if qform:
        image.set_qform(OBLIQUE, qform, strip_shears=True)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def back(content: bytes):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (4, 1)])
def test_a_volumes_mask_has_its_affine_and_transform_codes(tmp_path, sform, qform):
    path = saved(tmp_path, np.zeros((4, 5, 6), np.int16), sform=sform, qform=qform)
    mask = np.random.default_rng(0).integers(0, 3, (1, 4, 5, 6)).astype(np.uint8)
    [(name, content)] = mask_files("scan", mask, ("small", "large"), affine=OBLIQUE, like=path)
    read, source = back(content), nibabel.load(path)
    assert name == "scan.nii.gz"
    assert np.array_equal(np.asarray(read.dataobj), mask[0])
    assert read.get_data_dtype() == np.uint8
    np.testing.assert_allclose(read.affine, source.affine, atol=1e-4)
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert read.header[code] == source.header[code]
    np.testing.assert_allclose(read.header.get_zooms(), source.header.get_zooms(), rtol=1e-5)


def test_without_a_nifti_file_the_affine_is_used():
    [(_, content)] = mask_files("scan", np.ones((1, 2, 2, 2), np.uint8), ("tumor",), affine=OBLIQUE)
    np.testing.assert_allclose(back(content).affine, OBLIQUE, atol=1e-4)


def test_a_file_that_changed_shape_meanwhile_is_named(tmp_path):
    path = saved(tmp_path, np.zeros((4, 5, 6), np.int16))
    with pytest.raises(UserError, match=r"scan\.nii\.gz has shape"):
        list(mask_files("scan", np.ones((1, 4, 5, 7), np.uint8), ("tumor",), like=path))


def test_pictures_are_black_and_white_for_one_class_and_label_values_for_several():
    mask = np.array([[[0, 1], [2, 1]]], np.uint8)
    pixels = {
        name: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED).tolist()
        for classes, stem in ((("tumor",), "one"), (("small", "large"), "two"))
        for name, content in mask_files(stem, np.minimum(mask, len(classes)), classes)
    }
    assert pixels == {"one.png": [[0, 255], [255, 255]], "two.png": [[0, 1], [2, 1]]}


def test_overlapping_classes_have_a_file_each():
    mask = np.array([[[0, 1]], [[1, 1]]], np.uint8)
    assert [name for name, _ in mask_files("x", mask, ("small", "large"))] == ["x_small.png", "x_large.png"]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("unit", ["meter", "mm", "unknown"])
def test_masks_keep_the_header_of_wrongly_named_files(tmp_path, kind, unit):
    import gzip

    image = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), OBLIQUE)
    image.header.set_xyzt_units(unit)
    mask, plain = np.ones((1, 3, 4, 5), np.uint8), image.to_bytes()
    written = []
    for name, content in {"a.nii": plain, "b.nii.gz": plain, "c.nii": gzip.compress(plain), "d": plain}.items():
        (tmp_path / name).write_bytes(content)
        written += [content for _, content in mask_files("x", mask, ("tumor",), like=tmp_path / name)]
    assert len(set(written)) == 1
    header = nibabel.load(tmp_path / "a.nii").header.copy()  # as nibabel itself would keep it
    header.set_data_dtype(np.uint8)
    for field in ("cal_min", "cal_max", "toffset"):
        header[field] = 0
    assert gzip.decompress(written[0]) == kind(mask[0], None, header).to_bytes()


def test_wrongly_named_volumes_are_predicted_and_keep_their_grid(tmp_path):
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), OBLIQUE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "plain.nii.gz").write_bytes(image.to_bytes())
    (tmp_path / "in" / "packed.nii").write_bytes(gzip.compress(image.to_bytes()))

    def predict(cases, uncertainty):
        for case_id, found in cases:
            mask = np.ones((1, *found.full_shape), np.uint8)
            yield Blended(case_id, np.ones(1, np.float32), mask * 255, mask)

    opened = SimpleNamespace(
        decision=SimpleNamespace(
            classes=("lump",),
            exclusive=True,
            abstention=None,
            finder=None,
            pooling=Pooling(),
            postprocess=Postprocess(),
            identity="",
            kind="segmentation",
        ),
        config=SimpleNamespace(source="table", source_options={"dimensions": 3, "labels": "lump"}),
        predict=predict,
    )
    outcome = predict_folder(opened, tmp_path / "in", tmp_path / "out", skip_bad=False, force=False)
    assert (outcome.masks, dict(outcome.counts)) == (2, {"ok": 2})
    for name in ("plain", "packed"):
        mask = back((tmp_path / "out" / f"{name}.nii.gz").read_bytes())
        np.testing.assert_allclose(mask.affine, image.affine)
        assert mask.shape == image.shape


@pytest.mark.parametrize(
    ("stems", "classes", "options", "name"),
    [
        (["a", "a_left"], ["lung", "left_lung"], {"overlapping": True}, "a_left_lung"),
        (["a"], ["b", "uncertainty"], {"overlapping": True, "uncertainty": True}, "a_uncertainty"),
        (["a", "a_uncertainty"], ["b"], {"overlapping": False, "uncertainty": True}, "a_uncertainty"),
    ],
)
def test_files_that_would_have_one_name_are_refused(stems, classes, options, name):
    with pytest.raises(UserError, match=f"two masks would both be called {name}: rename a case or a class"):
        check_names(stems, classes, **options)
    check_names(stems[:1], classes[:1], **options)
