"""The leaderboard says what is ranked, what is not and why; RESULTS.md says what was run."""

from __future__ import annotations

import io
from types import SimpleNamespace

from rich.console import Console

from heldout.blend.records import Alternative
from heldout.evaluate.lineage import changes
from heldout.evaluate.row import Row, groups, ranked
from heldout.report.columns import COLUMNS
from heldout.report.format import duration
from heldout.report.format import test_evals_text as evals_text
from heldout.report.leaderboard import show
from heldout.report.page import write_markdown
from heldout.report.results import write_results


def fit(fold: int, **values) -> SimpleNamespace:
    base = {
        "seed": 0,
        "train_seconds": 37.5,
        "fold": fold,
        "score": 0.5 + fold / 10,
        "machine": "a processor, 2 cores",
        "torch": "2.9",
        "spec": "exp001",
        "sha256": SimpleNamespace(weights="0" * 64),
    }
    return SimpleNamespace(**{**base, "epochs": 6, **values})


def row(name: str, score: float, **values) -> Row:
    base = {
        "dataset": "bones",
        "metric": "dice_pos",
        "low": score - 0.1,
        "high": score + 0.1,
        "cases": 20,
        "patients": 9,
    }
    base |= {"kind": "run", "title": f"Title of {name}", "done": 2, "planned": 2, "complete": True, "seconds": 75.0}
    base |= {"parameters": 1_400_000, "fits": [fit(0), fit(1)]}
    return Row(name=name, score=score, **{**base, **values})


ROWS = [
    row(
        "mix",
        0.81,
        kind="blend",
        **{"in_sample": 0.9, "optimism": 0.09, "sealed": True, "fits": [], "parameters": None},
        **{"test_score": 0.7, "test_evals": 2, "test_evals_by_name": 3, "dataset_test_evals": 5},
        baselines={
            "exp002": Alternative(in_sample=0.8, cross_fitted=0.79, weights=(0, 1000)),
            "tuned": Alternative(in_sample=0.9, cross_fitted=0.81, weights=(400, 600)),
        },
    ),
    row("exp002", 0.8, parent="exp001", changed=["lr = 0.1", "build_loss()"], checkpoint="best"),
    row("exp001@quick", 0.99, budget="quick"),
    row("exp001", 0.7, done=1, complete=False),
]


def test_budgets_and_unfinished_runs_are_not_ranked():
    assert [ranked(r) for r in ROWS] == [True, True, False, False]


def test_the_markdown_names_everything_a_score_needs(home):
    text = write_markdown(ROWS).read_text()
    ranked_part, unranked = text.split("### Not ranked")
    assert ranked_part.index("| mix |") < ranked_part.index("| exp002 |")
    for needed in (
        "0.8000 [0.700, 0.900]",
        "0.9000",
        "exp001 + lr = 0.1, build_loss()",
        "best\\*",
        "+0.0900",
        "0.7000 | 2 (+ 1 of earlier versions) of 5",
        "1.4 M",
    ):
        assert needed in ranked_part
    assert "exp001@quick" in unranked
    assert "1/2" in unranked


def shown_at(width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    show(ROWS, console)
    return console.export_text()


def test_eighty_columns_show_scores_whole_and_two_lines_for_each_row(home):
    text = shown_at(80)
    for needed in ("exp002", "0.8000 [0.700, 0.900]", "exp001@quick", "best* checkpoint", "sealed · Title of mix"):
        assert needed in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "Not shown at this width: " in text
    rows = [k for k, line in enumerate(lines) if "0.8000 [" in line or "0.8100 [" in line]
    assert rows[1] == rows[0] + 2


def test_two_hundred_columns_show_everything(home):
    text = shown_at(200)
    for needed in ("2 (+ 1 of earlier versions) of 5", "+0.0900", "1.4 M", "exp001 + lr = 0.1, build_loss()"):
        assert needed in text
    assert "Not shown" not in text
    assert max(map(len, text.splitlines())) <= 200


def test_every_column_is_a_key_of_the_json_with_the_value_shown(home):
    for each in ROWS:
        values = each.to_dict()
        for column in COLUMNS:
            assert column.name in values
            if column.better != "low" and column.name != "fold_scores":
                assert column.value(each) == values[column.name]


def test_other_data_stand_in_another_table(home):
    rows = [row("exp001", 0.7, data_hash="a" * 64), row("exp002", 0.8, data_hash="b" * 64)]
    assert len(groups(rows)) == 2
    text = write_markdown(rows).read_text()
    assert "data aaaaaaaa" in text
    assert "data bbbbbbbb" in text


def test_changes_name_fields_and_overridden_methods():
    old = {"task": "Segment2D", "fields": {"lr": 0.1, "size": [1, 2]}, "hooks": {}}
    new = {"task": "Segment2D", "fields": {"lr": 0.2, "size": [1, 2]}, "hooks": {"build_loss": "ab12"}}
    assert changes(old, new) == ["lr = 0.2", "build_loss()"]


def test_results_name_part_scores_and_test_evaluations(home):
    text = write_results(ROWS)[0].read_text()
    assert "dice_pos 0.9900 [0.890, 1.090]" in text
    assert "Scored on 20 cases of 9 patients, folds 0, 1" in text
    assert (
        "mix on the test part: 0.7000, 2 test evaluations (+ 1 of earlier versions), 5 of this test part in all."
        in text
    )


def test_markdown_cannot_be_broken_by_a_title(home):
    text = write_markdown([row("exp001", 0.7, title="a | b <img src=x> `c` \n# d\x1b[2J")]).read_text()
    assert "a \\| b &lt;img src=x> \\`c\\` # d\\\\x1b[2J" in text


def test_a_title_cannot_steer_the_terminal(home):
    console = Console(width=200, record=True, file=io.StringIO(), force_terminal=True)
    show([row("exp001", 0.7, title="a\x1b[2J\u202eb [red]c")], console)
    assert "a\\x1b[2J\\u202eb [red]c" in console.export_text()


def test_test_evaluations_are_counted_here_and_in_all():
    assert evals_text(row("exp001", 0.7, dataset_test_evals=3)) == ""
    shown = evals_text(row("exp001", 0.7, test_evals=1, test_evals_by_name=1, dataset_test_evals=3))
    assert shown == "1 test evaluation, 3 of this test part in all"


def test_durations_read_easily():
    assert [duration(seconds) for seconds in (52, 204, 25_560)] == ["52 s", "3.4 min", "7.1 h"]
