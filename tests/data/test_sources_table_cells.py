"""Cells with boxes or lists, tables of studies, and ids with constant ends: what the table source makes of them."""

from __future__ import annotations

import pytest

from heldout.data.sources.table.boxes import boxes_of
from heldout.errors import UserError
from tests.data.test_sources_table import write_pictures
from tests.data.toy import get_source


@pytest.fixture
def table(tmp_path):
    write_pictures(tmp_path, count=3)

    def write(content, **options):
        (tmp_path / "train.csv").write_text(content)
        return get_source("table", tmp_path, {"file": "train.csv", "path": "{id}.png", **options})

    return write


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("[{'x': 2, 'y': 3, 'width': 10, 'height': 5}, {'x': 0, 'y': 0, 'width': 2, 'height': 1}]", {}),
        ('[{""xmin"": 2, ""ymin"": 3, ""xmax"": 12, ""ymax"": 8}, {""x1"": 0, ""y1"": 0, ""x2"": 2, ""y2"": 1}]', {}),
        ("[[2, 3, 12, 8], [0, 0, 2, 1]]", {"corners": True}),
        ("2 3 10 5;0 0 2 1", {}),
        ("opacity 1 2 3 12 8 opacity 0.5 0 0 2 1", {"box_form": "class score", "corners": True}),
        ("0.9 2 3 10 5 0.1 0 0 2 1", {"box_form": "score"}),
        ("opacity 2 3 10 5 opacity 0 0 2 1", {"box_form": "class"}),
    ],
)
def test_all_boxes_of_a_cell_are_drawn(table, cell, options):
    nothing = "none 1 0 0 1 1" if options.get("box_form") == "class score" else ""
    source = table(f'id,found\n0,"{cell}"\n1,{nothing}\n2,none\n', box="found", nothing="none", **options)
    first, second, third = map(source.read_mask, source.index().to_dict("records"))
    assert first[:, 3:8, 2:12].all()
    assert first[:, 0, 0:2].all()
    assert first.sum() == 52
    assert not second.any()
    assert not third.any()
    assert source.classes == (("opacity",) if "class" in options.get("box_form", "") else ("foreground",))


def test_boxes_of_a_dictionary_bear_their_class(table):
    cells = "[{'x': 2, 'y': 3, 'w': 4, 'h': 5, 'label': 'mass'}, {'x': 9, 'y': 9, 'w': 1, 'h': 1, 'label': 'cyst'}]"
    source = table(f'id,found\n0,"{cells}"\n1,[]\n2,[]\n', box="found")
    assert source.classes == ("cyst", "mass")
    assert source.read_mask(source.index().iloc[0]).sum(axis=(1, 2)).tolist() == [1, 20]


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1 2 3", {}),
        ("opacity 1 2 3 4 5", {}),
        ("[1, 2, 3", {}),
        ("[{'x': 1, 'y': 2}]", {}),
        ("[1, 2, 3, 'a']", {}),
        ("1 2 3 nan", {}),
        ("1 2 3 4", {"box_form": "class score"}),
        ("[" * 5000, {}),
    ],
)
def test_a_cell_that_holds_something_else_is_named_with_its_case(table, cell, options):
    source = table(f'id,found\n0,\n1,"{cell}"\n2,\n', box="found", **options)
    with pytest.raises(UserError, match=r"train.csv, case 1 has found = .*: write a list of boxes as JSON, or "):
        source.index()


@pytest.mark.parametrize("text", ["[{'x': 1, 'y': 2, 'width': 3, 'height': 4}]", "[1, 2, 3, 4]", "1,2,3,4", "1 2 3 4"])
def test_one_box_has_many_spellings(text):
    assert boxes_of(text, "", corners=False) == [("", (1.0, 2.0, 3.0, 4.0))]


def test_a_table_of_studies_is_joined_on_a_column_of_the_images(table, tmp_path):
    (tmp_path / "studies.csv").write_text("id,sick\na_study,1\nb_study,0\n")
    content = "id,study\n0_image,a\n1_image,a\n2_image,b\n"
    options = {"parts": "{name}_image", "path": "{name}.png", "labels": "sick"}
    source = table(content, **options, file="train.csv, studies.csv:id={study}_study", patient="study")
    index = source.index()
    assert index["case_id"].tolist() == ["0_image", "1_image", "2_image"]
    assert index["patient_id"].tolist() == ["a", "a", "b"]
    assert index["y_sick"].tolist() == [1, 1, 0]
    wrong = table(content, **options, file="train.csv, studies.csv:id={exam}_study")
    with pytest.raises(UserError, match=r"train.csv has no column 'exam': .*source_options file"):
        wrong.index()
    other = table(content, **options, file="train.csv, studies.csv:id=study")
    with pytest.raises(UserError, match=r"studies.csv has no id of train.csv"):
        other.index()


def test_lists_as_python_writes_them_are_split(table):
    content = 'id,found\n0,"[\'mass\', \'large, round cyst\']"\n1,[]\n2,"[""mass""]"\n'
    source = table(content, labels="found", separator="[]", blank="0")
    index = source.index()
    assert source.classes == ("large_round_cyst", "mass")
    assert index[["y_large_round_cyst", "y_mass"]].to_numpy().tolist() == [[1, 1], [0, 0], [0, 1]]


def test_zeros_that_fill_up_a_number_are_put_back(tmp_path):
    write_pictures(tmp_path, count=3)
    for number in range(3):
        (tmp_path / f"{number}.png").rename(tmp_path / f"img_{number:03d}.png")
    (tmp_path / "train.csv").write_text("id,sick\n0,1\n1,0\n")
    options = {"file": "train.csv", "path": "img_{id:3}.png", "submit": "img_{id:3}.png", "labels": "sick"}
    index = get_source("table", tmp_path, options).index()
    assert index[["case_id", "split"]].to_numpy().tolist() == [["0", ""], ["1", ""], ["2", "submit"]]
