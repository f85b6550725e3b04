"""Tables of other shapes: a row per case and class, grades in several columns, one table for each part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heldout.data.levels import groups_of
from heldout.data.sources.table import Table
from heldout.errors import UserError
from tests.data.miniatures import save, table

LONG = {"file": "t.csv", "id": "ID", "long": "Label", "path": "{id}.png"}


@pytest.fixture
def folder(tmp_path):
    for name in ("ID_a", "ID_b", "x/1", "x/2", "y/1"):
        save(tmp_path / f"{name}.png", np.zeros((8, 8), np.uint8))
    return tmp_path


def test_rows_of_a_case_and_class_become_columns(folder):
    rows = ["ID_a_any,1", "ID_a_sub_dural,0", "ID_b_sub_dural,1", "ID_a_any,1"]
    table(folder / "t.csv", "ID,Label", rows)
    source = Table(folder, **LONG, labels="any, sub_dural")
    index = source.index().set_index("case_id")
    assert source.classes == ("any", "sub_dural")
    assert index.loc["ID_a", ["y_any", "y_sub_dural"]].tolist() == [1, 0]
    assert np.isnan(index.loc["ID_b", "y_any"])  # a row that is missing is not known
    assert index.loc["ID_b", "y_sub_dural"] == 1


def test_a_column_of_classes_serves_as_well_and_what_all_rows_say_is_kept(folder):
    table(folder / "t.csv", "ID,class,Label,who,reader", ["ID_a,any,1,p,r1", "ID_a,sub,0,p,r2", "ID_b,any,0,q,r1"])
    index = Table(folder, **LONG, patient="who").index()
    assert index["patient_id"].tolist() == ["p", "q"]
    assert index[["y_any", "y_sub"]].fillna(-1).to_numpy().tolist() == [[1, 0], [0, -1]]


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (["ID_a_any,1", "ID_a_any,0"], {}, r"t.csv has Label '1' and '0' for the class any of ID_a: keep one row"),
        (["any,1"], {}, r"t.csv has ID = 'any', which is not <case>_<class>: correct source_options long"),
        (["ID_a_odd,1"], {"labels": "any"}, r"ID = 'ID_a_odd', which is not <case>_<class> of any: correct"),
        (["ID_a_any,3"], {}, r"t.csv, case ID_a has any = '3': labels are 0, 1 or empty"),
        (["ID_a_any,1"], {"long": "Lable"}, r"t.csv has no column 'Lable': .* source_options long"),
    ],
)
def test_a_damaged_long_table_is_named(folder, rows, more, message):
    table(folder / "t.csv", "ID,Label", rows)
    with pytest.raises(UserError, match=message):
        Table(folder, **{**LONG, **more}).index()


def test_each_column_has_grades_of_its_own(folder):
    table(folder / "t.csv", "id,l1,l2", ["ID_a,mild,severe", "ID_b,severe,mild", "x/1,mild,"])
    source = Table(folder, file="t.csv", path="{id}.png", labels="l1, l2", graded=True)
    assert source.classes == ("l1_mild", "l1_severe", "l2_mild", "l2_severe")
    assert not source.exclusive
    values = source.index()[[f"y_{name}" for name in source.classes]].fillna(-1).to_numpy().tolist()
    assert values == [[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, -1, -1]]
    table(folder / "t.csv", "id,l1,l2", ["ID_a,mild,severe", "ID_b,severe,severe"])
    with pytest.raises(UserError, match=r"t.csv has 1 different grades in l2: name columns of grades"):
        _ = Table(folder, file="t.csv", path="{id}.png", labels="l1, l2", graded=True).classes


def test_tables_of_parts_are_put_below_each_other(folder):
    table(folder / "x/labels.csv", "n,sick", ["1,0", "2,1"])
    table(folder / "y/labels.csv", "n,sick", ["1,1"])
    options = {"file": "{part}/labels.csv", "id": "{part}_{n}", "path": "{part}/{n}.png", "labels": "sick"}
    source = Table(folder, **options, test="part=y")
    index = source.index()
    assert index["case_id"].tolist() == ["x_1", "x_2", "y_1"]
    assert index["split"].tolist() == ["", "", "test"]
    assert [path.parent.name for path in source.tables()] == ["x", "y"]
    with pytest.raises(UserError, match=r"has no row with part = 'z': correct source_options test"):
        Table(folder, **options, test="part=z").index()
    with pytest.raises(UserError, match=r"has no file of the form \{part\}/none.csv: correct source_options file"):
        Table(folder, **{**options, "file": "{part}/none.csv"}).index()
    table(folder / "y/labels.csv", "n,sick", ["7,1"])
    with pytest.raises(UserError, match=r"y/labels.csv row 2: the file 'y/7.png' .* does not exist"):
        Table(folder, **options).index()


def test_two_columns_name_a_group_of_cases(folder):
    table(folder / "t.csv", "id,patient,side,sick", ["ID_a,p,L,1", "ID_b,p,R,0"])
    source = Table(folder, file="t.csv", path="{id}.png", labels="sick")
    index = source.index()
    assert groups_of(source, index, "{patient}_{side}") == ["p_L", "p_R"]
    with pytest.raises(UserError, match=r"gives case ID_a a \{patient\}_\{view\}"):
        groups_of(source, pd.DataFrame(index), "{patient}_{view}")
