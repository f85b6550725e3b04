"""Any dataset with a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data.checks import check_case
from heldout.data.image import BadFile
from heldout.data.rle import RunLengths
from heldout.data.sources.layout import read_table
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
        ("id,path,y,y", "b,images/001.png,1,0", {}, "has two columns 'y': rename or remove one"),
        ("id,path,y", '"b\nc",images/001.png,1', {}, "row 3 has a line break in id: close the quotation mark"),
    ],
)
def test_a_defect_names_row_and_remedy(table, header, row, options, message):
    good = {"id": "a", "case": "a", "path": "images/001.png", "y": "1", "split": "train", "patient": "p"}
    source = table(header, ",".join(good[name] for name in header.split(",")), row, **options)
    with pytest.raises(UserError, match=message) as error:
        source.index()
    assert "data.csv" in str(error.value)


@pytest.mark.parametrize("options", [{}, {"targets": "age"}])
def test_new_files_need_no_table(tmp_path, options):
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "new.png")
    source = get_source("table", tmp_path, options)
    assert source.loose(tmp_path)["case_id"].tolist() == ["new"]


def test_numbers_to_predict_are_read_and_unknown_ones_submitted(table):
    source = table("id,path,age,sex", "a,images/001.png,12.5,M", "b,images/NA.png,,F", targets="age")
    index = source.index()
    assert (source.kind, source.classes, source.exclusive) == ("regression", ("age",), False)
    assert index["split"].tolist() == ["", "submit"]
    assert index["y_age"].tolist()[0] == 12.5
    with pytest.raises(UserError, match="row 2 has age = 'old': a target is a number, or empty"):
        table("id,path,age", "a,images/001.png,old", targets="age").index()
    with pytest.raises(UserError, match="has no column 'weight'"):
        table("id,path,age", "a,images/001.png,1", targets="weight").index()


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


def write_pictures(folder, sides=(20, 30), count=6):
    """Images with a bright triangle each; their masks."""
    masks = {}
    for number in range(count):
        mask = np.zeros(sides, np.uint8)
        for row in range(8):
            mask[4 + row, 3 : 5 + 2 * row + number] = 1
        noise = np.random.default_rng(number).integers(0, 60, sides)
        Pillow.fromarray((noise + 150 * mask).astype(np.uint8)).save(folder / f"{number}.png")
        masks[str(number)] = mask
    return masks


@pytest.mark.parametrize("sides", [(20, 30), (24, 24)], ids=["oblong", "square"])
@pytest.mark.parametrize("order", ["columns", "rows"])
@pytest.mark.parametrize("start", [0, 1])
def test_run_lengths_are_decoded_in_the_order_that_fits_or_refused(tmp_path, sides, order, start):
    masks, way = write_pictures(tmp_path, sides), RunLengths(order, start)
    lines = [f"{name},{name}.png,{way.encode(mask)}" for name, mask in masks.items()]
    (tmp_path / "train.csv").write_text("\n".join(["id,path,mask", *lines]))
    options = {"rle": order, "rle_start": start}
    source = get_source("table", tmp_path, options)
    assert (source.kind, source.exclusive, source.classes, source.rle) == ("segmentation", True, ("foreground",), way)
    for row in source.index().to_dict("records"):
        assert row["split"] == ""
        assert np.array_equal(check_case(source, row) and source.read_mask(row)[0], masks[row["case_id"]])
    if order == "rows":
        with pytest.raises(
            UserError, match=r"train.csv: 6 of 6 masks fit .* by rows: set source_options = ..rle.: .rows"
        ):
            get_source("table", tmp_path, {"rle_start": start}).index()
        wrong = get_source("table", tmp_path, {**options, "rle": "columns"})
        wrong.index()
        assert "6 of 6 masks fit their images better when they are counted by rows" in wrong.report()[0]
    if start == 0 and sides == (20, 30) and order == "columns":
        line = "0,0.png,0 3"
        (tmp_path / "train.csv").write_text("\n".join(["id,path,mask", line]))
        with pytest.raises(UserError, match=r"begin at pixel 0: set source_options = ..rle_start.: 0"):
            get_source("table", tmp_path, {}).index()


def test_rows_of_run_lengths_make_a_channel_per_class(tmp_path):
    masks = write_pictures(tmp_path)
    texts = {name: RunLengths().encode(mask) for name, mask in masks.items()}
    lines = ["id,path,class,mask", "0,0.png,Large Bowel,1 4", f"0,0.png,stomach,{texts['0']}", "0,0.png,stomach,100 2"]
    lines += ["1,1.png,stomach,", f"1,1.png,Large Bowel,{texts['1']}", "2,2.png,stomach,-1", "2,2.png,Large Bowel,"]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    source = get_source("table", tmp_path, {"labels": "stomach,Large Bowel"})
    assert (source.classes, source.exclusive) == (("stomach", "Large_Bowel"), False)
    rows = source.index().to_dict("records")
    assert [row["split"] for row in rows] == ["", "", ""]
    first, second, third = map(source.read_mask, rows)
    assert first.sum(axis=(1, 2)).tolist() == [masks["0"].sum() + 2, 4]
    assert np.array_equal(second, np.stack([0 * masks["1"], masks["1"]]))
    assert third.shape == (2, 20, 30)
    assert not third.any()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,1.png,", "row 3 has no mask, which may mean .* write -1 for an empty mask, or add a column split"),
        ("b,1.png,images/b.png", "row 3 has mask = 'images/b.png' among run lengths"),
    ],
)
def test_what_is_not_a_run_length_is_named(tmp_path, line, message):
    write_pictures(tmp_path)
    (tmp_path / "train.csv").write_text("\n".join(["id,path,mask", "a,0.png,1 3", line]))
    with pytest.raises(UserError, match=message):
        get_source("table", tmp_path, {}).index()


def test_runs_that_leave_the_image_are_a_bad_case(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train.csv").write_text("id,path,mask\na,0.png,599 3\n")
    source = get_source("table", tmp_path, {})
    with pytest.raises(
        BadFile, match=r"case a: the run-length text '599 3' leaves .*20 x 30.*correct its row in .*train.csv"
    ):
        check_case(source, source.index().to_dict("records")[0])


def test_a_table_with_tabs_is_read_and_a_sample_submission_is_no_second_table(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tpath\tsick\n001\t0.png\t1\n002\t1.png\t0\n")
    (tmp_path / "stage1_sample_submission.csv").write_text("id,p\n001,0\n")
    source = get_source("table", tmp_path, {"id": "participant_id"})
    assert list(source.index()["case_id"]) == ["001", "002"]
    (tmp_path / "form.csv").write_text("id,p\n001,0\n")
    with pytest.raises(UserError, match=r"one table \(CSV or TSV\) but has form.csv, participants.tsv: name it"):
        get_source("table", tmp_path, {"id": "participant_id"}).index()
    source = get_source("table", tmp_path, {"id": "participant_id"})
    source.other_files = frozenset({"form.csv"})
    assert len(source.index()) == 2


def test_a_column_that_holds_no_labels_comes_with_the_line_that_leaves_it_out(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "data.csv").write_text("id,path,age,a,b\n1,0.png,50,1,0\n2,1.png,60,0,\n")
    with pytest.raises(
        UserError, match=r"row 2 has age = '50': labels are .*; set source_options = ..labels.: .a, b.}"
    ):
        get_source("table", tmp_path, {}).index()
    (tmp_path / "data.csv").write_text("id,path,grade\n1,0.png,bad\n2,1.png,good\n")
    with pytest.raises(
        UserError,
        match=r"row 2 has grade = 'bad': .*or the names of classes.*; set source_options = ..labels.: .grade.}",
    ):
        get_source("table", tmp_path, {}).index()


def test_classes_of_one_name_are_refused(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "data.csv").write_text("id,path,Large Bowel,Large_Bowel\n1,0.png,1,0\n")
    with pytest.raises(
        UserError, match="'Large Bowel' and 'Large_Bowel', which are both called Large_Bowel here: rename"
    ):
        get_source("table", tmp_path, {}).index()


def test_a_device_in_place_of_a_table_is_not_read():
    with pytest.raises(UserError, match="/dev/zero is not a regular file: name a table"):
        read_table(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "label"), [("1.00", 1.0), ("True", 1.0), ("FALSE", 0.0), ("0e0", 0.0), ("nan", float("nan"))]
)
def test_labels_as_other_programs_write_them(table, text, label):
    index = table("id,path,label_a", f"001,images/001.png,{text}", "NA,images/NA.png,1").index()
    assert np.array_equal(index["y_a"].to_numpy()[:1], [label], equal_nan=True)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("id|path|label_a", "001|images/001.png|1", r"separated by '\|', save it with commas"),
        ("id,path,label_a", "001,images/001.png,2.0", "label_a = '2.0'.*the names of classes in a single column"),
        ("id,path,label_a", "na,images/001.png,1\nNA,images/NA.png,0", "na differs from NA in letter case"),
        ("id,path,mask", "001,images/001.png,1 3\nNA,images/NA.png,nan", "has no mask, which may mean.*write -1"),
    ],
)
def test_other_ways_to_write_a_table_come_with_the_remedy(table, header, row, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        table(header, row).index()


def test_a_table_of_windows_is_read(tmp_path, table):
    source = table("id,path,label_a", "001,images\\001.png,1")
    (tmp_path / "data.csv").write_bytes(b"\xef\xbb\xbfid,path,label_a\r\n001,images\\001.png,1\r\n")
    row = source.index().iloc[0]
    assert (row["case_id"], row["y_a"]) == ("001", 1)
    assert check_case(source, row).labels == {"a": 1.0}


@pytest.mark.parametrize("empty", ["-1", "1 0", "0 0"])
def test_every_way_to_write_run_lengths_of_nothing(table, empty):
    source = table("id,path,mask", "001,images/001.png,1 3", f"NA,images/NA.png,{empty}")
    assert [int(source.read_mask(row).sum()) for _, row in source.index().iterrows()] == [3, 0]


def test_a_class_that_is_called_otherwise_is_reported(table):
    source = table("id,path,T1/T2,plain", "001,images/001.png,1,0", "NA,images/NA.png,0,1")
    assert source.classes == ("T1_T2", "plain")
    assert "class 'T1/T2' is called T1_T2 here" in source.report()


def labels_of(source):
    """Labels of every case, by its id."""
    index = source.index().set_index("case_id")
    return {name: row.filter(regex="^y_").astype(int).tolist() for name, row in index.iterrows()}


@pytest.mark.parametrize(
    ("header", "cells", "options", "classes", "labels", "exclusive"),
    [
        ("dx", ("mel", "nv", "mel"), {}, ("mel", "nv"), ([1, 0], [0, 1], [1, 0]), True),
        ("grade", ("0", "2", "0"), {}, ("grade_0", "grade_2"), ([1, 0], [0, 1], [1, 0]), True),
        (
            "findings",
            ("Mass|Edema", "No Finding", "Edema"),
            {"separator": "|", "nothing": "No Finding"},
            ("Edema", "Mass"),
            ([1, 1], [0, 0], [1, 0]),
            False,
        ),
        (
            "words",
            ("rust scab", "healthy", "scab"),
            {"separator": " ", "nothing": "healthy"},
            ("rust", "scab"),
            ([1, 1], [0, 0], [0, 1]),
            False,
        ),
        ("kind", ("benign", "malignant", "benign"), {"nothing": "benign"}, ("malignant",), ([0], [1], [0]), False),
        ("sick", ("True", "false", "1"), {}, ("sick",), ([1], [0], [1]), False),
        ("sick", ("-1", "", "1.0"), {"uncertain": "1", "blank": "0"}, ("sick",), ([1], [0], [1]), False),
    ],
)
def test_label_columns_as_competitions_have_them(table, header, cells, options, classes, labels, exclusive):
    rows = [f"{name},images/{name}.png,{cell}" for name, cell in zip(("001", "NA", "1e5"), cells, strict=True)]
    source = table(f"id,path,{header}", *rows, labels=header, **options)
    assert (source.classes, source.exclusive) == (classes, exclusive)
    assert labels_of(source) == dict(zip(("001", "NA", "1e5"), labels, strict=True))


def test_what_minus_one_means_must_be_said(table):
    with pytest.raises(UserError, match="row 2 has sick = '-1': say what it means in source_options uncertain"):
        table("id,path,sick", "001,images/001.png,-1", "NA,images/NA.png,1").index()


def test_too_many_names_are_no_classes(tmp_path):
    write_pictures(tmp_path, count=2)
    lines = [f"{number},{number % 2}.png,name{number}" for number in range(120)]
    (tmp_path / "data.csv").write_text("\n".join(["id,path,remark", *lines]))
    with pytest.raises(UserError, match="has 120 different names of classes in remark: name the column of the labels"):
        get_source("table", tmp_path, {"labels": "remark"}).index()


def test_templates_make_paths_of_columns_and_pieces_of_the_id(tmp_path):
    for name in ("a/a_1_x.png", "b/b_2_y.png", "test/a_9.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_pictures(tmp_path, count=1)
        (tmp_path / "0.png").rename(tmp_path / name)
    (tmp_path / "t.csv").write_text("id;sick\na-1;1\nb-2;0\n")
    options = {"parts": "{patient}-{slice}", "path": "{patient}/{patient}_{slice}_*.png", "labels": "sick"}
    source = get_source("table", tmp_path, {**options, "submit": "test/{patient}_{slice}.png"})
    index = source.index()
    assert index["patient_id"].tolist() == ["a", "b", "a"]
    assert index["split"].tolist() == ["", "", "submit"]
    assert index["case_id"].tolist() == ["a-1", "b-2", "a-9"]
    assert '"b/b_2_y.png"' in index["image"][1]
    (tmp_path / "a/a_1_z.png").write_bytes((tmp_path / "a/a_1_x.png").read_bytes())
    with pytest.raises(UserError, match=r"a/a_1_x.png and a/a_1_z.png both fit .*: write a template that fits one"):
        get_source("table", tmp_path, options).index()
    with pytest.raises(UserError, match=r"t.csv has id = 'a-1', which is not of the form .*: correct .* parts"):
        get_source("table", tmp_path, {**options, "parts": "{patient}+{slice}"}).index()
    with pytest.raises(UserError, match=r"no file of the form pictures/{id}.png: correct source_options path"):
        get_source("table", tmp_path, {"path": "pictures/{id}.png", "labels": "sick"}).index()


def test_a_row_has_a_case_for_each_value_of_a_free_piece(tmp_path):
    for name in ("p1/s1.png", "p1/s2.png", "p2/s1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_pictures(tmp_path, count=1)
        (tmp_path / "0.png").rename(tmp_path / name)
    (tmp_path / "t.csv").write_text("id,sick\np1,1\np2,0\np3,0\n")
    options = {"path": "{id}/{session}.png", "labels": "sick"}
    index = get_source("table", tmp_path, {**options, "absent": "skip"}).index()
    assert index[["case_id", "patient_id"]].to_numpy().tolist() == [["p1_s1", "p1"], ["p1_s2", "p1"], ["p2_s1", "p2"]]
    with pytest.raises(UserError, match=r"row 4: the file .* in the template .* does not exist .*absent.: .skip"):
        get_source("table", tmp_path, options).index()


def test_tables_are_joined_on_the_id(tmp_path):
    write_pictures(tmp_path, count=3)
    (tmp_path / "train.csv").write_text("id,sick\n0,1\n1,0\n2,1\n")
    (tmp_path / "meta.tsv").write_text("image\tperson\n2\tp2\n0\tp0\n1\tp0\n")
    options = {"path": "{id}.png", "labels": "sick", "patient": "person"}
    source = get_source("table", tmp_path, {**options, "file": "train.csv, meta.tsv:image"})
    assert source.index()["patient_id"].tolist() == ["p0", "p0", "p2"]
    assert [path.name for path in source.tables()] == ["train.csv", "meta.tsv"]
    (tmp_path / "meta.tsv").write_text("image\tperson\n0\tp2\n0\tp0\n")
    with pytest.raises(UserError, match=r"meta.tsv has image '0' in several rows: keep one, to join it"):
        get_source("table", tmp_path, {**options, "file": "train.csv, meta.tsv:image"}).index()
    with pytest.raises(UserError, match=r"meta.tsv has no column 'id'.*source_options file"):
        get_source("table", tmp_path, {**options, "file": "train.csv, meta.tsv"}).index()


def test_boxes_are_filled_a_channel_per_class(tmp_path):
    write_pictures(tmp_path, count=3)
    lines = [
        "id,path,x,y,w,h,kind",
        "0,0.png,2,3,10,5,a",
        "0,0.png,20,3,4,4,b",
        "1,1.png,,,,,none",
        "2,2.png,0,0,3,3,b",
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    options = {"box": "x, y, w, h", "class": "kind", "nothing": "none"}
    source = get_source("table", tmp_path, options)
    assert (source.classes, source.kind, source.exclusive) == (("a", "b"), "segmentation", False)
    first, second, third = map(source.read_mask, source.index().to_dict("records"))
    assert first.sum(axis=(1, 2)).tolist() == [50, 16]
    assert first[0, 3:8, 2:12].all()
    assert not second.any()
    assert third.sum(axis=(1, 2)).tolist() == [0, 9]
    (tmp_path / "boxes.csv").write_text("\n".join([*lines[:1], "0,0.png,20,3,40,5,a"]))
    wrong = get_source("table", tmp_path, options)
    with pytest.raises(
        BadFile, match=r"box 20 3 40 5 leaves an image of 20 x 30 pixels: correct its row in .*boxes.csv"
    ):
        wrong.read_mask(wrong.index().to_dict("records")[0])
    (tmp_path / "boxes.csv").write_text("\n".join([*lines[:1], "0,0.png,20,,40,5,a"]))
    with pytest.raises(UserError, match="row 2 has the box 20, , 40, 5: write four numbers, or leave all four empty"):
        get_source("table", tmp_path, options).index()


@pytest.mark.parametrize("form", ["length", "end", "gap", "pixels"])
def test_run_lengths_of_every_form_are_decoded(tmp_path, form):
    masks, way = write_pictures(tmp_path), RunLengths("rows", 0, form)
    lines = [f"{name},{name}.png,{way.encode(mask)}" for name, mask in masks.items()]
    (tmp_path / "train.csv").write_text("\n".join(["id,path,mask", *lines]))
    source = get_source("table", tmp_path, {"rle": "rows", "rle_start": 0, "rle_form": form})
    for row in source.index().to_dict("records"):
        assert np.array_equal(source.read_mask(row)[0], masks[row["case_id"]])


def test_new_files_are_listed_without_the_table(tmp_path):
    write_pictures(tmp_path, count=2)
    source = get_source("table", tmp_path, {"path": "images/{id}.png", "file": "train.csv"})
    assert source.loose(tmp_path)["case_id"].tolist() == ["0", "1"]
    (tmp_path / "b").mkdir()
    for number in range(2):
        (tmp_path / f"{number}.png").rename(tmp_path / "b" / f"x_{number}.png")
    source = get_source("table", tmp_path, {"path": "b/{id}_0.png, b/{id}_1.png", "file": "train.csv"})
    assert source.loose(tmp_path)["image"].map(len).tolist() == [len(str([str(tmp_path / "b/x_0.png")] * 2))]
