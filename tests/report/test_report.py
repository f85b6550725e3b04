"""Reports hold what their readers ask for, say what they stand on, show nothing of a test part, and escape all text."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.evaluate.cases import SegmentedCase
from heldout.evaluate.collect import open_row
from heldout.evaluate.compare import compare_rows
from heldout.report.figures import views
from heldout.report.sections.blocks import FigureBlock, Heading, Section, TableBlock, Text
from heldout.report.sections.labels import confusion, confusion_blocks
from heldout.report.sections.overview import overview
from heldout.report.sections.write import to_html, to_markdown
from heldout.report.svg import Bar, Line, bar_chart, line_chart, matrix_chart
from heldout.train.history import read_metrics

MASKS = "exp001+dataset=masks,seeds=(0,),source_options={'patients':60,'images_per_patient':1,'size':32}"
VOLUMES = "exp003+dataset=volumes,source_options={'dimensions':3,'patients':14,'images_per_patient':1,'size':32}"


@pytest.fixture(scope="module")
def reported(drawn, tmp_path_factory):
    """A report of a run on images and one on volumes: its folder, page and Markdown, and cases of the test part."""
    home = tmp_path_factory.mktemp("reported") / "home"
    shutil.copytree(drawn, home)
    specs = [load(spec).spec for spec in (MASKS, VOLUMES)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        assert run(["report", *specs, "--name", "two"]) == 0
        parts = {part: set() for part in ("train", "test")}
        for spec in specs:
            for part, cases in parts.items():
                cases.update(open_dataset(load(spec)).part(part)["case_id"])
    folder = home / "working" / "reports" / "two"
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    return {"folder": folder, "page": page, "text": text, "test": parts["test"] - parts["train"]}


def test_a_report_has_all_its_parts(reported):
    for part in (
        *("out-of-fold predictions of the train part", "Compared pair by pair"),
        *("Overlap by class", "Learning curves", "Presence", "Cases from worst to best", "Failures"),
        *("Reliability", "Predicted labels of every class", "Worst cases", "Dice of every case that holds"),
        *("Overlap along the depth", " ml"),  # of volumes, whose sizes are physical
    ):
        assert part in reported["page"], part
        assert part in reported["text"], part
    assert "one uses masks, the other volumes" in reported["page"]


def test_the_page_is_whole_and_the_markdown_shows_every_figure(reported):
    page, links = reported["page"], re.findall(r"\(figures/([^)]+)\)", reported["text"])
    assert 'src="data:image/png;base64,' in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert len(links) == len(set(links))
    assert {path.name for path in (reported["folder"] / "figures").iterdir()} == set(links)
    assert any("overlay_case_" in link for link in links)
    for path in (reported["folder"] / "figures").glob("*.svg"):
        ElementTree.parse(path)


def test_no_case_of_the_test_part_is_in_a_report(reported):
    assert len(reported["test"])
    assert not [case for case in reported["test"] if f"{case}<" in reported["page"] or f"{case} " in reported["text"]]


def test_a_child_beside_its_parent_shows_what_its_change_is_worth(masks):
    parent, child = (open_row(name) for name in masks[:2])
    assert "ablation" not in pictures_of(overview([parent, child]))
    child.row.parent = parent.name
    gain, low, high, _ = compare_rows(child.name, parent.name).gain_of(child.name)
    chart = pictures_of(overview([parent, child]))["ablation"]
    assert f"{gain:+.4f} [{low:.3f}, {high:.3f}]" in chart
    assert "lr = 0.01" in chart


def pictures_of(section):
    return {block.name: block.content for block in section.blocks if isinstance(block, FigureBlock)}


def test_classifications_and_blends_are_reported(home, finish):
    one, other = finish(seeds=(0,), skill=2.0), finish(finish(seeds=(0,)) + ",lr=0.01", seeds=(0,), skill=1.0)
    assert run(["blend", one, other, "--name", "pair", "--trials", "3", "--calibrate", "platt"]) == 0
    old = home / "working" / "reports" / "both" / "figures" / "old.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of an earlier report")
    assert run(["report", one, "pair", "--name", "both"]) == 0
    page = (home / "working" / "reports" / "both" / "report.html").read_text()
    assert "before calibration" in page
    assert "Dashed: before calibration; solid: after it, cross-fitted." in page
    assert "Nothing was trained for a blend" in page
    assert "All figures here are cross-fitted" in page
    assert not old.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exp001"], "exp001"),
        (["nobody"], "neither a run with a finished fold nor a blend"),
        (["PARENT", "PARENT"], "named twice"),
        (["PARENT", "--name", "a/b"], "--name 'a/b' cannot name a report"),
    ],
)
def test_mistakes_are_one_sentence(masks, capsys, words, said):
    assert run(["report", *(masks[0] if word == "PARENT" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_single_case_is_drawn_in_all_panels_and_a_test_case_refused(home, masks, capsys):
    spec = masks[2]
    dataset = open_dataset(load(spec))
    case, sealed = dataset.part("train")["case_id"][0], dataset.part("test")["case_id"][0]
    assert run(["overlay", spec, "--case", case]) == 0
    assert (home / "working" / "figures" / spec / f"overlay_case_{case}.png").is_file()
    assert run(["overlay", spec, "--case", sealed]) == 2
    assert "choose a case of the train part" in capsys.readouterr().err


def test_planes_go_through_the_middle_of_the_largest_lesion_with_square_pixels():
    truth = np.zeros((1, 20, 16, 8), bool)
    truth[0, 4:9, 5:8, 2:5] = True
    truth[0, 18, 14, 7] = True  # a smaller one, far away
    planes = views(SegmentedCase("a", truth.astype(float), truth, truth), np.diag([-1.0, -1, 2, 1]))
    assert [plane.case_id for plane in planes] == ["axial 4 of 8", "coronal 7 of 16", "sagittal 7 of 20"]
    assert [plane.truth.shape[1:] for plane in planes] == [(16, 20), (16, 20), (16, 16)]
    assert [int(plane.truth.sum()) for plane in planes] == [15, 5 * 6, 3 * 6]


def test_confusion_counts_every_case_once():
    truth, called = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 0, 0, 1], bool)
    assert confusion(truth, called).tolist() == [[2, 1], [1, 1]]


def test_a_damaged_learning_curve_is_named(masks, home, capsys):
    path = next((home / "working" / "runs" / masks[0]).rglob("metrics.csv"))
    for damaged in (b"nothing\n1\n", b"", b"\xff\xfe", b"epoch,train_loss,lr\n1,much,0.1\n"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{re.escape(str(path))} (cannot be read|has no numbers in a column)"):
            read_metrics(path.parent)
    assert run(["report", masks[0]]) == 2
    assert f"{path} has no numbers in a column train_loss: restore it" in capsys.readouterr().err


def test_epochs_are_counted_in_whole_numbers():
    chart = line_chart([Line("fold 0", [(1, 0.5), (2, 0.4), (3, 0.3)], sizes=[2, 2, 2])], "t", "epoch", "loss")
    assert "1.5" not in chart
    assert "fold 0, epoch 1: 0.5" in chart


def test_a_logarithmic_axis_is_labeled_with_the_values_themselves():
    chart = line_chart([Line("a", [(3, 0.1), (40, 0.5), (5000, 0.9)], joined=False)], "t", "size", "Dice", log_x=True)
    assert all(f">{tick}</text>" in chart for tick in (1, 10, 100, 1000, 10000))


def test_charts_are_empty_without_anything_to_draw_and_escape_names():
    assert line_chart([Line("a", [])], "t", "x", "y") == ""
    assert bar_chart([], "t", "x") == ""
    evil = '<script>"&'
    for chart in (
        line_chart([Line(evil, [(0, 1), (1, 1)], sizes=[2, 2])], evil, evil, evil),
        bar_chart([Bar(evil, -0.2, -0.3, None, evil)], evil, evil),
        matrix_chart(np.eye(2, dtype=int), (evil, evil), evil),
    ):
        assert "<script>" not in chart


def test_text_is_escaped_in_html_and_markdown():
    evil = "<b>|x|</b>"
    blocks = [Heading(evil), Text(evil), TableBlock((evil,), [(evil,)], evil), FigureBlock("a", b"png", evil)]
    page = to_html(evil, evil, evil, [Section(evil, blocks)])
    text, figures = to_markdown("title", "summary", "claim", [Section(evil, blocks)])
    assert "<b>" not in page
    assert "<b>" not in text.replace(f"| {evil} |", "")
    assert list(figures) == ["0_a.png"]


def test_a_report_needs_cross_fitted_predictions(home, finish):
    one = finish(seeds=(0,), folds=(0,))
    other = finish(one + ",lr=0.01", seeds=(0,), folds=(0,))
    assert run(["blend", one, other, "--name", "pair", "--trials", "2"]) == 0
    with pytest.raises(UserError, match="has one fold only"):
        _ = open_row("pair").table


def test_one_class_has_a_confusion_matrix_and_several_have_a_table():
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    of_both = {"segments": False, "name": "x", "row": SimpleNamespace(at_half=None)}
    one = SimpleNamespace(
        truth=truth[:, :1], known=truth[:, :1] | True, predicted_labels=truth[:, 1:], classes=("a",), **of_both
    )
    (matrix,) = confusion_blocks(one, [0])
    assert (matrix.name, matrix.caption) == ("confusion", "Confusion matrix of a: predicted labels as scored.")
    one.row = SimpleNamespace(at_half=0.5)
    assert confusion_blocks(one, [0])[0].caption.endswith("cut at one half.")
    both = SimpleNamespace(
        truth=truth, known=truth | True, predicted_labels=truth[:, ::-1], classes=("a", "b"), **of_both
    )
    (table,) = confusion_blocks(both, [0, 1])
    assert table.rows[0] == ("a", "2", "1", "1", "1", "1", "0.500", "0.500")


def test_what_single_cases_score_is_computed_once_for_tables_pictures_and_failures(masks, monkeypatch):
    from heldout.evaluate import cases

    calls = []
    for name in ("score_cases", "score_classes"):
        function = getattr(cases, name)
        monkeypatch.setattr(cases, name, lambda *given, f=function, n=name: calls.append(n) or f(*given))
    assert run(["report", masks[0]]) == 0
    assert sorted(calls) == ["score_cases", "score_classes"]
