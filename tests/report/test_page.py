"""The page: sound HTML, nothing from the network, no markup of the user's, right images and sorting."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser

import pytest

from heldout.cli import run
from heldout.evaluate.public_scores import correlate
from heldout.evaluate.row import Row
from heldout.files import REPOSITORY
from heldout.report.page import page
from heldout.report.svg import forest, scatter

VOID = {"meta", "link", "br", "hr", "img", "input"}
NASTY = """<script>alert("1")</script> & 'x' $summary"""


class Page(HTMLParser):
    """The page's elements with their attributes; fails where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def row(name: str, score: float | None, **values) -> Row:
    base = {"kind": "run", "title": f"Title of {name}", "dataset": "bones", "metric": "dice_pos", "complete": True}
    if score is not None:
        base |= {"low": score - 0.1, "high": score + 0.1, "fold_scores": {0: score - 0.02, 1: score + 0.02}}
    return Row(name=name, score=score, **{**base, **values})


BLEND = {"kind": "blend", "in_sample": 0.9, "optimism": 0.09, "sealed": True, "submission": "submissions/mix.csv"}
EVALUATED = {"test_evals": 1, "test_evals_by_name": 1, "dataset_test_evals": 4}
TESTED = {
    "test_score": 0.7,
    "test_low": 0.6,
    "test_high": 0.8,
    "test_evals": 1,
    "test_evals_by_name": 1,
    "dataset_test_evals": 4,
}
ROWS = [
    row("mix", 0.81, **BLEND, **TESTED, public=0.8),
    row("exp002", 0.8, parent="exp001", changed=["lr = 0.1", "build_loss()"], public=0.78, private=0.77),
    row("exp001", 0.7, public=0.71, seed_spread=0.003, seed_scores={0: 0.7, 1: 0.71}, fold_spread=0.02),
    row("exp003", None, note="missing: fold 1", complete=False),
]


def test_every_element_closes_and_nothing_is_loaded():
    text = page(ROWS)
    parsed = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<iframe|<img", text)
    assert all(not attributes.get("src") for _, attributes in parsed.elements)
    assert all(
        one.get("href", "#")[:1] == "#" or one["href"] == "data:," for one in parsed.all("link") + parsed.all("a")
    )
    policy = next(one["content"] for one in parsed.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    identifiers = [one["id"] for _, one in parsed.elements if "id" in one]
    assert len(identifiers) == len(set(identifiers))
    assert {one["aria-labeledby"] for one in parsed.all("section")} <= set(identifiers)


def test_what_the_user_wrote_is_never_markup():
    fields = ("name", "title", "dataset", "parent", "submission", "note", "budget", "public_note", "metric")
    nasty = row("exp001", 0.7, public=0.5, changed=[NASTY], scaled=[NASTY])
    for field in fields:
        setattr(nasty, field, NASTY)
    parsed = Page(page([nasty]))
    assert len(parsed.all("script")) == 1  # the page's own
    assert "".join(parsed.texts).count(NASTY) >= len(fields)


def test_headings_sort_and_every_cell_has_its_key():
    parsed = Page(page(ROWS))
    heads = [one for one in parsed.all("th") if one.get("scope") == "col"]
    assert [one["aria-sort"] for one in heads] == ["ascending"] + ["none"] * (len(heads) - 1)
    assert len(parsed.all("button")) == len(heads) + 1
    keys = [one["data-sort"] for tag, one in parsed.elements if tag in ("td", "th") and "data-sort" in one]
    assert len(keys) == len(heads) * len(ROWS)
    table = [keys[i : i + len(heads)] for i in range(0, len(keys), len(heads))]
    numeric = [i for i, one in enumerate(heads) if one["data-type"] == "number"]
    for cells in table:
        for column in numeric:
            assert cells[column] == "" or float(cells[column]) is not None
    scores = [cells[2] for cells in table]
    assert scores == ["0.81", "0.8", "0.7", ""]
    assert heads[2]["data-first"] == "descending"


def test_of_a_score_that_should_be_low_the_lowest_comes_first():
    heads = Page(page([row("exp001", 0.2, higher_is_better=False)])).all("th")
    assert heads[2]["data-first"] == "ascending"


def test_the_page_says_what_a_score_needs():
    said = " ".join(" ".join(Page(page(ROWS)).texts).split())
    for needed in (
        *("0.8100", "[0.710, 0.910]", "0.9000", "+0.0900", "sealed", "4 test evaluations of the locked test part"),
        *("lr = 0.1", "build_loss()", "missing: fold 1", "submissions/mix.csv", "0.0030", "0.790, 0.830"),
        *("seed SD", "fold SD", "Not ranked", "of 4"),
    ):
        assert needed in said


def test_both_themes_are_there_and_can_be_chosen():
    text = page(ROWS)
    assert "prefers-color-scheme: dark" in text
    assert ':root[data-theme="dark"]' in text
    assert next(one for one in Page(text).all("button") if one.get("id") == "theme")


def test_the_forest_shows_score_interval_folds_and_in_sample():
    parsed = Page(forest(ROWS, "dice_pos"))
    assert len([one for one in parsed.all("rect") if one["class"] == "mark"]) == 3
    intervals = [one for one in parsed.all("line") if one["class"] == "interval"]
    marks = [float(one["x"]) + 4.5 for one in parsed.all("rect") if one["class"] == "mark"]
    assert marks == sorted(marks, reverse=True)
    for mark, line in zip(marks, intervals, strict=True):
        assert (float(line["x1"]) + float(line["x2"])) / 2 == pytest.approx(mark, abs=0.2)
    assert len([one for one in parsed.all("circle") if one["class"] == "fold"]) == 6
    assert len([one for one in parsed.all("path") if one["class"] == "in-sample"]) == 1
    assert parsed.all("svg")[0]["role"] == "img"


def test_the_scatter_has_a_dot_per_score_and_says_how_they_agree():
    for each in ROWS:
        each.lb_correlation = {"public": correlate([(0.81, 0.8), (0.8, 0.78), (0.7, 0.71)])}
    dots = [one["class"] for one in Page(scatter(ROWS, "dice_pos")).all("circle")]
    assert sorted(dots) == ["dot private", "dot public", "dot public", "dot public"]
    assert "3 ranked: Pearson 0.99, Spearman 1.00" in page(ROWS)


def test_there_is_no_picture_of_nothing():
    assert forest([row("exp001", None)], "dice_pos") == ""
    assert scatter([row("exp001", 0.5)], "dice_pos") == ""
    assert "<svg" not in page([row("exp001", None)])


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, -3.0, 1e-9, 12345.0])
def test_one_score_alone_can_be_drawn(score):
    Page(forest([row("exp001", score, low=None, high=None, fold_scores={})], "dice_pos"))
    Page(scatter([row("exp001", score, low=None, high=None, public=score)], "dice_pos"))


def test_one_command_leaves_markdown_and_the_page(finish, home, capsys):
    spec = finish(seeds=(0,))
    assert run(["leaderboard"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in ("leaderboard.md", "leaderboard.html"):
        assert name in out
        assert spec.split("+")[0] in (home / "working" / name).read_text()
    Page((home / "working" / "leaderboard.html").read_text())


def test_elements_are_written_in_templates_and_by_the_module_of_charts():
    for path in (REPOSITORY / "src" / "heldout" / "report").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        built = [node.value for node in texts if id(node) not in docs and re.search("</?[a-z{]", node.value)]
        assert path.name == "svg.py" or not built, path
