"""A submission takes the sample's columns and order, and what would be scored wrongly is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from heldout.blend.apply import Blended
from heldout.blend.decision import Decision
from heldout.data.rle import RunLengths
from heldout.data.sources import source_class
from heldout.deliver.kernel.runtime import competition_writer
from heldout.deliver.submission.form import (
    arrange,
    case_names,
    check,
    empty_text,
    image_paths,
    read_sample,
    read_submission,
    sample_form,
)
from heldout.deliver.submission.write import SubmissionWriter, cases_to_submit, run_lengths
from heldout.errors import UserError
from heldout.tasks.classify import Classify2D
from heldout.tasks.segment import Segment2D

ONE, TWO = ("tumor",), ("small", "large")


def cases(*ids: str) -> pd.DataFrame:
    return pd.DataFrame({"case_id": ids, "image": [json.dumps([f"images/{name}_scan.jpg"]) for name in ids]})


def sample(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=str)


def laid_out(values, sample, classes, kind="csv", ids=("a", "b")):
    table = arrange(values, case_names(cases(*ids), sample, classes), classes, sample, kind)
    check(table, sample, kind)
    return table


@pytest.fixture
def values():
    return {"a": {"small": 0.25, "large": 0.5}, "b": {"small": 1.0, "large": 0.0}}


def test_without_a_sample_there_is_an_id_and_a_column_per_class(values):
    assert laid_out(values, None, TWO).to_dict("list") == {"id": ["a", "b"], "small": [0.25, 1.0], "large": [0.5, 0.0]}


def test_without_a_sample_a_table_s_own_ids_and_classes_come_back_in_its_order(tmp_path):
    own = ["=1+1", " b c", "007", "ü,1"]
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    pd.DataFrame({"id": own, "path": "a.png", "label_x/y z": ""}).to_csv(tmp_path / "cases.csv", index=False)
    source = source_class("table")(tmp_path)
    cases = source.index().sort_values("case_id", ignore_index=True)  # as those of a checked dataset
    given = cases_to_submit(SimpleNamespace(source=source, part=lambda _: cases))
    assert {"1_1", "007"} < set(given.case_id)
    writer = SubmissionWriter(Classify2D.create(), ("x_y_z",), given, source, source.own_classes())
    results = [Blended(case_id, np.array([0.5], np.float32), None, None) for case_id in given.case_id]
    written = pd.read_csv(writer.write(results, tmp_path / "submission"), dtype=str)
    assert written["id"].tolist() == own
    assert list(written) == ["id", "x/y z"]


def test_masks_without_a_sample_have_a_row_per_case_and_class():
    texts = {"a": {"small": "1 2", "large": ""}, "b": {"small": "", "large": "3 1"}}
    table = laid_out(texts, None, TWO, "rle")
    assert table.to_numpy().tolist() == [
        ["a", "small", "1 2"],
        ["a", "large", ""],
        ["b", "small", ""],
        ["b", "large", "3 1"],
    ]
    assert list(laid_out({"a": {"tumor": ""}}, None, ONE, "rle", ids=("a",)).columns) == ["id", "rle"]


def test_the_samples_order_of_rows_and_columns_is_kept(values):
    table = laid_out(values, sample(img=["b", "a"], large="0", small="0"), TWO)
    assert table.to_dict("list") == {"img": ["b", "a"], "large": [0.0, 0.5], "small": [1.0, 0.25]}


def test_a_single_column_of_any_name_takes_a_single_class():
    table = laid_out({"a": {"tumor": 0.5}, "b": {"tumor": 0.1}}, sample(id=["b", "a"], target="0"), ONE)
    assert table["target"].tolist() == [0.1, 0.5]


def test_a_class_may_be_appended_to_the_id_or_have_a_column(values):
    table = laid_out(values, sample(id=["b_large", "a_small", "a_large", "b_small"], p="0"), TWO)
    assert table["p"].tolist() == [0.0, 0.25, 0.5, 1.0]
    table = laid_out(values, sample(id=["b", "a", "b", "a"], finding=["small", "small", "large", "large"], p="0"), TWO)
    assert table["p"].tolist() == [1.0, 0.25, 0.0, 0.5]


@pytest.mark.parametrize("ids", [["a_scan.jpg", "b_scan.jpg"], ["a_scan", "b_scan"]])
def test_a_sample_may_name_cases_by_file(values, ids):
    assert laid_out(values, sample(id=ids, small="0", large="0"), TWO)["small"].tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (sample(id=["a", "b", "zz"], small="0", large="0"), "asks for id 'zz'"),
        (sample(id=["a"], small="0", large="0"), "lacks id 'b'"),
        (sample(id=["a", "b"], tiny="0", large="0"), "tiny, large do not fit the classes small, large"),
    ],
)
def test_a_sample_of_another_dataset_is_refused(values, given, message):
    with pytest.raises(UserError, match=message):
        laid_out(values, given, TWO)


@pytest.mark.parametrize("wrong", [float("nan"), 1.5, -0.1])
def test_a_value_that_is_no_probability_is_refused_by_case_and_column(values, wrong):
    values["b"]["large"] = wrong
    with pytest.raises(UserError, match="id 'b', column large"):
        laid_out(values, None, TWO)


def test_a_table_that_disagrees_with_the_sample_is_refused():
    given = sample(id=["a", "b"], p="0")
    with pytest.raises(UserError, match="order"):
        check(pd.DataFrame({"id": ["b", "a"], "p": [0.1, 0.2]}), given, "csv")
    with pytest.raises(UserError, match="columns"):
        check(pd.DataFrame({"id": ["a", "b"], "q": [0.1, 0.2]}), given, "csv")
    with pytest.raises(UserError, match="repeats id 'a'"):
        check(pd.DataFrame({"id": ["a", "a"], "p": [0.1, 0.2]}), given, "csv")


def test_ids_in_a_sample_stay_text(tmp_path):
    (tmp_path / "s.csv").write_text("id,p\n001,0\nNA,0\n1e5,0\n")
    assert read_sample(tmp_path / "s.csv")["id"].tolist() == ["001", "NA", "1e5"]


def test_an_id_column_without_a_name_comes_back_without_one(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeff,p\n001,0\n002,0\n", encoding="utf-8")
    table = arrange(
        {"a": {"x": 0.5}, "b": {"x": 0.25}}, {"001": "a", "002": "b"}, ("x",), read_sample(tmp_path / "s.csv"), "csv"
    )
    text = table.to_csv(index=False)
    assert text == ",p\n001,0.5\n002,0.25\n"
    check(read_submission(io.StringIO(text), "s.csv"), read_sample(tmp_path / "s.csv"), "csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("id,p\n", "rows"),
        ("id\n1\n", "value column"),
        ("id,p\nx,0\nx,1\n", "repeats id 'x'"),
        ("id,p,p\nx,0,0\n", "has two columns 'p': keep one"),
        ("id,p\nx,0,1\n", "Expected 2 fields in line 2"),
    ],
)
def test_a_broken_sample_is_named(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_sample(tmp_path / "s.csv")
    assert "s.csv" in str(error.value)
    with pytest.raises(UserError, match=r"missing\.csv does not exist"):
        read_sample(tmp_path / "missing.csv")


def test_empty_masks_follow_the_sample():
    assert empty_text(None) == ""
    assert empty_text(sample(id=["a", "b"], rle=["-1", "-1"])) == "-1"
    assert empty_text(sample(id=["a", "b"], rle=["-1", "1 2"])) == ""


@pytest.mark.parametrize(
    ("ids", "classes", "given"),
    [
        (("024", "025"), ("ETT_-_Abnormal", "CVC_-_Normal"), "StudyID,ETT - Abnormal,CVC - Normal\n025,0,0\n024,0,0\n"),
        (("a1",), ("Large_Bowel", "stomach"), "id,class,rle\na1,Large Bowel,\na1,stomach,\n"),
        (("a1", "a2"), ("kidney",), "id,class,rle\na1,kidney,\na2,kidney,\n"),
        (("a_1",), ("epi", "any"), "ID,Label\na 1_epi,0\na 1_any,0\n"),
        (
            ("x_1", "x_2"),
            ("Large_Bowel", "liver_s"),
            "id,p\nx_1_Large Bowel,\nx_2_liver's,\nx_1_liver's,\nx_2_Large Bowel,\n",
        ),
    ],
    ids=["columns", "a class column", "one class in a class column", "ids", "class suffixes"],
)
def test_ids_and_class_names_of_a_sample_come_back_as_they_are_written(tmp_path, ids, classes, given):
    (tmp_path / "s.csv").write_text(given)
    table = read_sample(tmp_path / "s.csv")
    texts = {case: {label: f"{n + 1} {m + 1}" for m, label in enumerate(classes)} for n, case in enumerate(ids)}
    laid = arrange(texts, case_names(cases(*ids), table, classes), classes, table, "rle")
    check(laid, table, "rle")
    assert list(laid.columns) == list(table.columns)
    value_columns = list(table.columns[1:] if "ETT" in given else table.columns[-1:])
    assert laid.drop(columns=value_columns).equals(table.drop(columns=value_columns))
    assert sorted(laid[value_columns].to_numpy().ravel()) == sorted(t for row in texts.values() for t in row.values())


def test_a_row_of_a_case_and_class_that_the_sample_lacks_is_named():
    given = sample(id=["a_small", "a_large", "b_small"], p="0")
    with pytest.raises(UserError, match="lacks id 'b_large'"):
        case_names(cases("a", "b"), given, TWO)


def test_classes_of_other_names_are_refused_with_the_line_that_mends_it():
    given = sample(id=["a", "b"], **{"CVC - Normal": "0", "ETT": "0"})
    with pytest.raises(UserError, match=r'source_options = \{"labels": "CVC - Normal, ETT"\}'):
        case_names(cases("a", "b"), given, TWO)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, RunLengths("rows", 0)),
        ({"rle": "columns"}, RunLengths("columns", 0)),
        ({"rle_start": 1}, RunLengths("rows", 1)),
    ],
)
def test_run_lengths_are_counted_as_the_training_masks_unless_the_experiment_says_otherwise(tmp_path, fields, expected):
    source = source_class("table")(tmp_path, rle="rows", rle_start=0)
    assert run_lengths(Segment2D.create(overrides=fields), source) == expected


def test_a_class_called_like_the_id_column_keeps_a_column_of_its_own():
    texts = {"a": {"id": 0.25, "class": 0.5}, "b": {"id": 0.75, "class": 0.0}}
    table = laid_out(texts, None, ("id", "class"))
    assert table.to_dict("list") == {"case_id": ["a", "b"], "id": [0.25, 0.75], "class": [0.5, 0.0]}


@pytest.fixture
def competition(tmp_path):
    """A competition's folder: three public test images, two of them copies of those to train on, and the sample."""
    import cv2

    for name in ("train/0", "train/1", "test/0", "test/1", "test/2"):
        path = tmp_path / "comp" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8), 40, np.uint8))
    (tmp_path / "comp" / "sample_submission.csv").write_text("id,x\n0,0.5\n1,0.5\n2,0.5\n")
    return tmp_path / "comp"


def competition_cases(folder, trained=("train/0.png", "train/1.png")):
    config = Classify2D.create(
        overrides={"source": "table", "sample_submission": "sample_submission.csv", "source_options": {"labels": "x"}}
    )
    source = source_class("table")(folder, labels="x")
    decision = Decision(
        **{"name": "comp", "kind": "classification", "classes": ("x",), "exclusive": False, "metric": "roc_auc"},
        **{"members": [], "thresholds": {}, "folds": [0], "dataset": "comp", "fold_hash": "", "data_hash": ""},
    )
    writer, _ = competition_writer(config, decision, source, trained)
    rows = {row["case_id"]: row for row in writer.cases.to_dict("records")}
    return {name: Path(image_paths(rows[case_id]["image"])[0]) for name, case_id in writer.names.items()}, source, rows


def test_in_a_whole_competition_folder_the_files_that_were_trained_on_are_left_out(competition):
    found, _, _ = competition_cases(competition)
    assert {name: path.relative_to(competition).as_posix() for name, path in found.items()} == {
        str(number): f"test/{number}.png" for number in range(3)
    }


def test_the_sample_may_lie_above_the_folder_of_the_cases(competition):
    found, _, _ = competition_cases(competition / "test")
    assert sorted(found) == ["0", "1", "2"]


def test_a_test_file_that_is_missing_is_a_case_that_cannot_be_read(competition):
    (competition / "test" / "1.png").unlink()
    found, source, rows = competition_cases(competition)
    assert sorted(found) == ["0", "1", "2"]
    with pytest.raises(UserError):
        source.read_image(rows["1"], salvage=True)


def test_a_folder_with_none_of_the_samples_cases_is_refused(competition):
    (competition / "sample_submission.csv").write_text("id,x\na,0.5\nb,0.5\n")
    with pytest.raises(UserError, match=r"asks for id 'a' \(2 of 2 ids have no case\)"):
        competition_cases(competition)


def test_ids_may_be_made_of_a_folder_and_the_begin_of_a_file():
    names = ["case1_day0_slice_0001", "case1_day2_slice_0001"]
    images = [f"test/case1/{day}/scans/slice_0001_266_266_1.50.png" for day in ("case1_day0", "case1_day2")]
    table = pd.DataFrame({"case_id": ["p", "q"], "image": [json.dumps([image]) for image in images]})
    wanted = pd.DataFrame({"id": names, "x": "0"})
    assert case_names(table, wanted, ("x",)) == dict(zip(names, ["p", "q"], strict=True))


@pytest.mark.parametrize(
    ("written", "classes", "expected"),
    [
        ("0", ("level_0", "level_1", "level_2"), ["2", "0"]),
        ("0", ("mild", "bad", "worst"), ["2", "0"]),
        ("mild", ("mild", "bad", "worst"), ["worst", "mild"]),
        ("0.0", ("level_0", "level_1", "level_2"), ["2", "0"]),
        ("", ("level_0", "level_1", "level_2"), ["2", "0"]),
        ("No DR", ("No_DR", "Mild", "Bad"), ["Bad", "No DR"]),
    ],
)
def test_one_value_column_beside_exclusive_classes_holds_the_class(written, classes, expected):
    given = sample(image=["007", "012"], level=[written, written])
    scores = {
        "007": dict(zip(classes, (0.1, 0.2, 0.7), strict=True)),
        "012": dict.fromkeys(classes, 0.1) | {classes[0]: 0.8},
    }
    table = arrange(scores, case_names(cases("007", "012"), given, classes), classes, given, "csv")
    assert table.to_dict("list") == {"image": ["007", "012"], "level": expected}
    check(table, given, "class", grades=set(expected))
    with pytest.raises(UserError, match=r"row 2, id '007', column level: '9' is none of the classes"):
        check(table.assign(level="9"), given, "class", grades=expected)


def test_a_value_column_that_names_no_class_is_refused():
    given = sample(image=["007"], level=["?"])
    with pytest.raises(UserError, match=r"column level holds '\?'.*write there how it spells each class"):
        sample_form(given, ("none", "mild"))


def test_a_class_whose_spelling_the_sample_does_not_show_is_refused(tmp_path):
    (tmp_path / "sample.csv").write_text("image,level\na,No DR\n")
    (tmp_path / "a.png").touch()
    (tmp_path / "cases.csv").write_text("id,path,level\na,a.png,\nb,a.png,No DR\nc,a.png,Bad DR\n")
    source = source_class("table")(tmp_path, file="cases.csv", labels="level")
    config = Classify2D.create(overrides={"sample_submission": "sample.csv"})
    with pytest.raises(UserError, match="does not show how it spells the class 'Bad DR'"):
        SubmissionWriter(config, source.classes, cases("a"), source, source.own_classes())
