"""Folders without a table: path templates, classes, masks, channels."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.data.sources.template import Template
from heldout.errors import UserError
from tests.data.miniatures import picture, save, save_volume, volume
from tests.data.toy import get_source


def test_a_template_tells_pieces_apart():
    assert Template("{patient}-{number}.jpeg").match("CNV-1016042-7.jpeg") == {"patient": "CNV-1016042", "number": "7"}
    assert Template("{a}/{a}_{b}.png").match("x/y_1.png") is None
    assert Template("train/{c}/{id}.png|val/{c}/{id}.png").match("val/no/3.png") == {"c": "no", "id": "3"}
    assert Template("images_*/{id}").match("images_001/a.png") == {"id": "a.png"}
    assert Template("images_*/{id}").match("images_001/deep/a.png") is None


def write_classes(root):
    for number in range(8):
        part, kind = ("train", "test")[number > 5], ("ill", "well")[number % 2]
        save(root / f"{part}/{kind}/p{number // 2}_{number}.png", picture(number, 1)[0])
    save(root / "new/9.png", picture(9, 1)[0])


def test_folders_are_classes_and_parts(tmp_path):
    write_classes(tmp_path)
    options = {
        "image": "train/{class}/{patient}_*.png",
        "test": "test/{class}/{patient}_*.png",
        "submit": "new/{id}.png",
    }
    source = get_source("folders", tmp_path, options)
    index = source.index()
    assert (source.classes, source.exclusive, source.kind) == (("ill", "well"), True, "classification")
    assert index["split"].tolist() == [""] * 6 + ["test"] * 2 + ["submit"]
    assert index["patient_id"].tolist()[:6] == ["p0", "p1", "p2", "p0", "p1", "p2"]
    assert index["y_ill"].tolist()[:6] == [1, 1, 1, 0, 0, 0]
    one = get_source("folders", tmp_path, {**options, "nothing": "well"})
    assert (one.classes, one.exclusive) == (("ill",), False)
    assert len(one.index()) == 9


def test_folders_whose_classes_are_called_the_same_here_are_refused(tmp_path):
    for number, name in enumerate(("Large Bowel", "Stomach")):
        save(tmp_path / name / f"{number}.png", picture(number, 1)[0])
    source = get_source("folders", tmp_path, {"image": "{class}/{id}.png"})
    assert source.own_classes() == {"Large_Bowel": "Large Bowel", "Stomach": "Stomach"}
    save(tmp_path / "Large_Bowel" / "7.png", picture(7, 1)[0])
    with pytest.raises(UserError, match="'Large Bowel' and 'Large_Bowel', which are both called Large_Bowel here: ren"):
        get_source("folders", tmp_path, {"image": "{class}/{id}.png"}).index()


def test_masks_of_several_files_are_united_and_their_values_numbered(tmp_path):
    for number in range(3):
        image, _ = picture(number, 1)
        save(tmp_path / f"images/{number}.png", image)
        for value in (2, 5):
            mask = np.zeros_like(image)
            mask[value : value + 3] = value
            save(tmp_path / f"masks/{number}_{value}.png", mask)
    save(tmp_path / "images/7.png", image)
    options = {"image": "images/{id}.png", "mask": "masks/{id}_*.png", "labels": "edge, core", "values": "2, 5"}
    source = get_source("folders", tmp_path, options)
    rows = source.index().to_dict("records")
    mask = source.read_mask(rows[0])
    assert mask.shape == (1, 48, 64)
    assert (mask[0, 2:5] == 1).all()
    assert (mask[0, 5:8] == 2).all()
    assert [row["split"] for row in rows] == ["", "", "", "submit"]
    empty = get_source("folders", tmp_path, {**options, "unmasked": "empty"})
    row = empty.index().to_dict("records")[3]
    assert row["split"] == ""
    assert not empty.read_mask(row).any()


def test_channels_are_files_and_new_cases_are_found_by_the_last_parts_of_the_layout(tmp_path):
    for name in ("a", "b"):
        for kind in ("t1", "t2"):
            mask = volume(tmp_path / f"raw/{name}/{name}_{kind}.nii.gz", ord(name) + len(kind), True)
        save_volume(tmp_path / f"raw/{name}/{name}_seg.nii.gz", mask)
    options = {"image": "raw/{id}/{id}_t1.nii.gz, raw/{id}/{id}_t2.nii.gz", "mask": "raw/{id}/{id}_seg.nii.gz"}
    source = get_source("folders", tmp_path, {**options, "dimensions": 3})
    row = source.index().to_dict("records")[0]
    assert source.read_image(row).array.shape == (2, 20, 24, 16)
    assert source.read_mask(row).sum() == mask.sum()
    loose = source.loose(tmp_path / "raw" / "b").to_dict("records")
    assert len(loose) == 1
    assert source.read_image(loose[0]).array.shape == (2, 20, 24, 16)
    (tmp_path / "raw/b/b_t2.nii.gz").unlink()
    with pytest.raises(UserError, match=r"b_t1.nii.gz has no file of the form raw/\{id\}/\{id\}_t2.nii.gz: restore it"):
        get_source("folders", tmp_path, {**options, "dimensions": 3}).index()


def test_jpeg_masks_need_a_threshold(tmp_path):
    from PIL import Image

    image, mask = picture(3, 2)
    save(tmp_path / "images/a.png", image)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.stack([255 * mask] * 3, axis=2)).save(tmp_path / "masks/a.jpg", quality=60)
    options = {"image": "images/{id}.png", "mask": "masks/{id}.jpg"}
    source = get_source("folders", tmp_path, {**options, "threshold": 127})
    found = source.read_mask(source.index().to_dict("records")[0])[0]
    assert (found != mask).mean() < 0.02
    plain = get_source("folders", tmp_path, options)
    with pytest.raises(UserError, match=r"a.jpg is a JPEG, which blurs label values"):
        plain.read_mask(plain.index().to_dict("records")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "pictures/{id}.png"}, "has no file of the form pictures/.*: correct source_options image"),
        ({"image": "train/*/{id}.png"}, "image = .* has no {class}, and there is no mask: name either"),
        ({"image": ""}, "source_options image is empty"),
        ({"image": "train/{class}/{id}.png", "test": "a, b"}, "test = 'a, b': write 1 templates, as image has"),
        ({"image": "train/*/{id}.png", "mask": "m/{case}.png"}, "mask = 'm/{case}.png' names {case}, which image does"),
        ({"image": "train/*/{id}.png", "mask": "m/{id}.png"}, "no file of the form m/{id}.png: correct .* mask"),
        (
            {"image": "train/*/{id}.png", "mask": "m/{id}.png", "values": "0"},
            "values = '0': write numbers from 1 to 254",
        ),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, message):
    write_classes(tmp_path)
    with pytest.raises(UserError, match=message):
        get_source("folders", tmp_path, options).index()


def test_templates_of_masks_are_a_class_each(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 255
    for name in ("a", "b", "c"):
        save(tmp_path / f"images/{name}.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / "left/a_L.png", mask)
    save(tmp_path / "right/a_R.png", mask[::-1])
    save(tmp_path / "left/b_L.png", mask)
    options = {"image": "images/{id}.png", "mask": "left/{id}_L.png, right/{id}_R.png"}
    source = get_source("folders", tmp_path, {**options, "labels": "left, right"})
    assert (source.classes, source.exclusive) == (("left", "right"), False)
    index = source.index().set_index("case_id", drop=False)
    assert index["split"].to_dict() == {"a": "", "b": "", "c": "submit"}
    both, one = (source.read_mask(index.loc[name]) for name in "ab")
    assert [both[0, 2:4].all(), both[1, 4:6].all(), both.sum()] == [True, True, 32]
    assert (one[0].any(), one[1].any()) == (True, False)
    with pytest.raises(UserError, match=r"has 2 templates: name as many classes in labels"):
        _ = get_source("folders", tmp_path, {**options, "labels": "left"}).classes
