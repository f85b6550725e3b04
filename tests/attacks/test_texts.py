"""Text that data bring is shown and stored as text: no control character, no formula, no markup."""

from __future__ import annotations

import csv
from html import escape
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from heldout.cli import run
from heldout.deliver.case_log import LoggedCase
from heldout.deliver.predict_tables import write_table, write_tables
from heldout.errors import note
from heldout.escape import markdown, spreadsheet, visible
from heldout.report.card import _render
from heldout.report.records import CardFacts
from heldout.tasks.finder import Finder

ESCAPE = "\x1b[2J\x1b[1;31mgone\u202e"
FORMULA = "=cmd|' /C calc'!A0"
SIGNED = (
    "-2+3+cmd|' /C calc'!D2",
    "-1-@SUM(A1)",
    '-.5+HYPERLINK("http://evil")',
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
)
HTML = '<img src=x onerror="alert(1)"><script>alert(1)</script>'


@pytest.mark.parametrize("text", [FORMULA, "+1+1", "@SUM(A1)", "-cmd", " =1", "\t=1", *SIGNED])
def test_formulas_begin_with_an_apostrophe(text):
    assert spreadsheet(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-0.5", "-.5", "+0.5", "-1e-5", "1e-5", "case=1", "a+b", "", "IMG-1"])
def test_numbers_and_plain_names_stay(text):
    assert spreadsheet(text) == text


def test_a_terminal_and_markdown_get_no_control_characters():
    for shown in (visible(ESCAPE), markdown(ESCAPE)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "gone" in shown


@pytest.mark.parametrize(
    "text", [r"[click\](http://evil)", r"![x\](http://evil/p.png)", r"\*y\*", r"\`x\`", r"a\|b", r"C:\new\\", r"\<b>"]
)
def test_markdown_shows_backslashes_literally(text):
    render = MarkdownIt("commonmark").enable("table").render
    assert render(markdown(text)) == f"<p>{escape(text, quote=False)}</p>\n"
    cell = render(f"| a |\n|---|\n| {markdown(text)} |\n")
    assert f"<td>{escape(text, quote=False)}</td>" in cell


def test_a_table_of_predictions_holds_no_formula(tmp_path):
    rows = {"a": {"name": f"{FORMULA}.png"}, "b": {"name": "b.png"}}
    notes = {"a": ("salvaged", f"{FORMULA} is truncated"), "b": ("ok", "")}
    write_table(tmp_path / "predictions.csv", rows, {"a": [0.25], "b": [0.5]}, notes, ("tumor",))
    with open(tmp_path / "predictions.csv", newline="") as handle:
        lines = list(csv.reader(handle))
    assert [line[0] for line in lines[1:]] == [f"'{FORMULA}.png", "b.png"]
    assert lines[1][3].startswith("'=")
    assert lines[1][1] == "0.250000"


def test_a_table_of_detections_holds_no_formula(tmp_path):
    decision = SimpleNamespace(finder=Finder(objects="points"), classes=("tumor",), abstention=None)
    rows = {"a": {"name": f"{FORMULA}.png"}}
    one = LoggedCase(case_id="a", stamp="", status="ok", note="", scores=(0.5,), detections=((0, 0.5, 1, 2, 3, 2, 3),))
    write_tables(SimpleNamespace(decision=decision), 2, tmp_path, rows, {"a": one})
    with open(tmp_path / "detections.csv", newline="") as handle:
        assert next(csv.DictReader(handle))["id"] == f"'{FORMULA}.png"


def test_messages_do_not_control_the_terminal(home, finish, capsys):
    spec = finish(seeds=(0,))
    capsys.readouterr()
    assert run(["overlay", spec, "--case", ESCAPE]) == 2
    note(f"a case is called {ESCAPE}")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\\x1b[2J" in said


def test_a_card_shows_names_and_titles_literally():
    shared = {"spec <b>": HTML, "list": [HTML], "dict": {HTML: HTML}}
    one = {"value": 0.5, "low": 0.4, "high": 0.6}
    facts = CardFacts.model_validate(
        {
            "schema": 1,
            **dict.fromkeys(("name", "title", "metric", "intended_use"), HTML),
            **dict.fromkeys(("input", "output", "model", "training", "calibration"), shared),
            **{"kind": "run", "limits": [HTML], "metrics": {"roc_auc": one}},
            **{"by_class": {HTML: 0.5}, "by_fold": {"0": 0.5}},
            "task": {"kind": "classification", "dimensions": 2, "classes": (HTML,), "exclusive": False},
            "data": {
                **dict.fromkeys(("dataset", "source", "license_of_the_data", "folds"), HTML),
                **{"cases": {HTML: 1}, "patients": 1, "scored_cases": 1, "scored_patients": 1},
            },
            "test": {"evaluations": 0, "evaluations_on_the_dataset": 0, "metrics": {}, "said": HTML},
            "hashes": {"identity": "0", "data": "1", "fold_table": "2", "weights": {HTML: "0"}},
        }
    )
    body = _render(facts).split("---\n", 2)[2]
    assert "<script" not in body
    assert "<img" not in body
    assert "<b>" not in body
    assert body.count("&lt;script>") >= 10
