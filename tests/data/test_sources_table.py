"""Any dataset with a CSV."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.errors import UserError
from tests.data.toy import get_source


@pytest.fixture
def table(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("001", "NA", "1e5"):
        array = np.random.default_rng(0).integers(0, 256, (6, 7), np.uint8)
        Pillow.fromarray(array).save(tmp_path / f"images/{name}.png")
        Pillow.fromarray((array > 200).astype(np.uint8)).save(tmp_path / f"images/{name}_mask.png")

    def write(header, *rows, **options):
        (tmp_path / "data.csv").write_text("\n".join([header, *rows]) + "\n")
        return get_source("table", tmp_path, options)

    return write


def test_ids_stay_text_and_empty_labels_are_unlabeled(table):
    source = table(
        "id,patient,path,label_a,label_b,age",
        "001,p1,images/001.png,1,0,50",
        "NA,p1,images/NA.png,0,1,60",
        "1e5,NA,images/1e5.png,,,70",
    )
    index = source.index()
    assert list(index["case_id"]) == ["001", "NA", "1e5"]
    assert list(index["patient_id"]) == ["p1", "p1", "NA"]
    assert source.classes == ("a", "b")
    assert (source.kind, source.exclusive, source.caveats) == ("classification", False, ())
    assert list(index["split"]) == ["", "", "submit"]
    assert index[["y_a", "y_b"]].to_numpy()[:2].tolist() == [[1, 0], [0, 1]]
    assert source.read_image(index.iloc[1]).array.shape == (1, 6, 7)


def test_other_column_names_and_split(table):
    source = table(
        "name,file,sick,part",
        "001,images/001.png,1,train",
        "NA,images/NA.png,0,test",
        id="name",
        path="file",
        split="part",
    )
    index = source.index()
    assert source.classes == ("sick",)
    assert list(index["split"]) == ["train", "test"]
    assert "no patient column" in source.caveats[0]


def test_masks_and_channels(table):
    source = table(
        "id,path,other,mask",
        "001,images/001.png,images/NA.png,images/001_mask.png",
        "NA,images/NA.png,images/NA.png,",
        path="path,other",
        labels="tumor",
    )
    index = source.index()
    assert (source.kind, source.exclusive, source.classes) == ("segmentation", True, ("tumor",))
    assert list(index["split"]) == ["", "submit"]
    assert source.read_image(index.iloc[0]).array.shape == (2, 6, 7)
    assert set(np.unique(source.read_mask(index.iloc[0]))) == {0, 1}
    assert index["y_tumor"].isna().all()


@pytest.mark.parametrize(
    ("header", "row", "options", "message"),
    [
        ("id,path,y", "001,images/001.png,2", {}, "row 3 has y = '2': labels are 0, 1 or empty"),
        ("id,path,y", "a,images/001.png,1", {}, "row 3 repeats the id 'a' of row 2"),
        ("id,path,y", "b,images/gone.png,1", {}, "row 3: the file 'images/gone.png' in column path does not exist"),
        ("id,path,y", ",images/001.png,1", {}, "row 3 has no id"),
        ("id,path,y,split", "b,images/001.png,1,val", {}, "row 3 has split = 'val': write train"),
        ("id,path,y,patient", "b,images/001.png,1,", {}, "row 3 has no patient"),
        ("case,path,y", "b,images/001.png,1", {}, "no column 'id': it has case, path, y; .* source_options id"),
        ("id,path,y", "b,images/001.png,1", {"patient": "person"}, "no column 'person'.* source_options patient"),
        ("id,path,y", "b,images/001.png,1", {"labels": "z"}, "no column 'z'.* source_options labels"),
        ("id,path", "b,images/001.png", {}, "no label column"),
    ],
)
def test_a_defect_names_row_and_remedy(table, header, row, options, message):
    good = {"id": "a", "case": "a", "path": "images/001.png", "y": "1", "split": "train", "patient": "p"}
    source = table(header, ",".join(good[name] for name in header.split(",")), row, **options)
    with pytest.raises(UserError, match=message) as error:
        source.index()
    assert "data.csv" in str(error.value)


def test_loose_leaves_masks_out(table, tmp_path):
    source = table("id,path,y", "001,images/001.png,1")
    assert list(source.loose(tmp_path)["name"]) == ["images/001.png", "images/1e5.png", "images/NA.png"]


@pytest.mark.parametrize(("labels", "known"), [("artery, vein", False), ("artery", True)])
def test_255_alone_is_a_class_only_where_there_is_one(tmp_path, labels, known):
    from PIL import Image

    from heldout.data.checks import check_case
    from heldout.data.image import BadFile
    from tests.data.toy import get_source

    picture = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(np.where(picture > 128, 255, 0).astype(np.uint8)).save(tmp_path / "m.png")
    (tmp_path / "cases.csv").write_text("id,path,mask\na,a.png,m.png\n")
    source = get_source("table", tmp_path, {"labels": labels})
    row = source.index().to_dict("records")[0]
    if known:
        assert check_case(source, row).labels == {"artery": 1.0}
        return
    with pytest.raises(BadFile, match=r"unknown label 255.*artery, vein"):
        check_case(source, row)
