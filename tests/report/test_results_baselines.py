"""Beside other systems: which of our runs and blends stand there, and what is said about both sides."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from heldout import files
from heldout.cli import run
from heldout.evaluate.ablation import family_of
from heldout.evaluate.collect import collect
from heldout.evaluate.row import Row
from heldout.report import baselines
from heldout.report.archive import ScoreLine, result_of, stored_results
from heldout.report.baselines import Baseline, Goal, comparisons, matching
from heldout.report.results import write_results

ENTRIES = baselines.baselines()
ENTRY = Baseline("Bones", roots=["exp040"], datasets=["bones", "hands"], metrics=["dice_pos"], systems=[])


def ours(name: str, score: float | None = 0.5, folds=(0, 1), dataset: str = "bones", **changes) -> Row:
    about = {"seed": 0, "score": score, "machine": "a processor, 2 cores", "torch": "2.9", "epochs": 6, "spec": name}
    about["sha256"] = SimpleNamespace(weights="0" * 64)
    values = {"kind": "run", "title": "", "metric": "dice_pos", "cases": 20, "patients": 20}
    values["budget"] = name.partition("+")[0].partition("@")[2] or None
    values["fits"] = [SimpleNamespace(**about, fold=fold) for fold in folds]
    return Row(name, dataset=dataset, score=score, **{**values, **changes})


def blend(name: str, score: float | None, folds=(0, 1), **changes) -> Row:
    changed = {"kind": "blend", "budget": "quick", "fold_scores": dict.fromkeys(folds, score), **changes}
    return replace(ours(name, score, (), **changed))


def beside(rows) -> str:
    """All tables of other systems and ours, as text."""
    found = comparisons([result_of(row) for row in rows])
    return "\n".join([" | ".join(line) for one in found for line in [one.columns, *one.rows, one.notes]])


def shown(*rows: Row, **changes) -> list[str]:
    return [row.name for row in matching(replace(ENTRY, **changes), rows)]


def test_more_folds_come_before_a_better_score():
    few, more, best = (
        ours("exp040@quick", 0.9),
        ours("exp041@quick", 0.3, range(5)),
        ours("exp042@quick", 0.4, range(5)),
    )
    assert shown(few, more, best) == ["exp042@quick"]


def test_of_every_dataset_the_best_stands_whatever_its_budget():
    rows = [ours("exp040@quick", 0.9), ours("exp041@quick", 0.1, dataset="hands"), ours("exp042", dataset="hands")]
    assert shown(*rows) == ["exp040@quick", "exp042"]
    assert shown(*rows, blend("scaled", 0.9), ours("exp040", 0.2)) == ["exp040@quick", "scaled", "exp042"]


def test_the_best_blend_stands_beside_the_best_run():
    rows = [ours("exp040@quick", 0.9), blend("worse", 0.2), blend("better", 0.3), blend("wider", 0.25, range(3))]
    assert shown(*rows) == ["exp040@quick", "wider"]
    assert shown(blend("better", 0.3)) == []  # no run of the family
    assert shown(ours("exp040@quick"), blend("of one fold", None)) == ["exp040@quick"]


def test_runs_of_other_families_and_datasets_stay_out():
    assert shown(ours("exp040@quick", dataset="feet"), ours("exp050@quick")) == []
    assert shown(ours("exp040@quick", dataset="feet"), datasets=[]) == ["exp040@quick"]
    assert family_of("exp042@quick") == "exp040"
    assert family_of("exp999@quick") == "exp999"


def test_experiments_that_only_serve_others_stay_out():
    rows = [ours(name, 0.9, range(5)) for name in ("exp040_coarse@quick", "exp040_coarse@quick+lr=0.1")]
    rows += [ours("exp047@quick", 0.1)]
    assert shown(*rows, helpers=["exp040_coarse"]) == ["exp047@quick"]
    assert shown(*rows, helpers=["exp040_coarse@quick+lr=0.1"]) == ["exp040_coarse@quick"]


def test_an_entry_can_name_an_experiment_to_stand_beside_the_best():
    rows = [ours("exp040@quick", 0.9), ours("exp041@quick", 0.1), ours("exp041@quick+lr=0.1", 0.2)]
    assert shown(*rows, also=["exp041"]) == ["exp040@quick", "exp041@quick"]
    assert shown(rows[1], also=["exp041"]) == ["exp041@quick"]


def test_other_systems_stand_beside_matching_runs_only(finish):
    finish(seeds=(0,))
    rows = collect()
    assert beside(rows) == ""
    rows[0].name, rows[0].dataset, rows[0].metric = "exp040@quick", "FracAtlas", "dice_pos"
    rows[0].budget, rows[0].scaled = "quick", ["epochs = 6"]
    text = beside(rows)
    assert "0.3837" in text
    assert "quick: epochs = 6" in text
    assert re.search(r"heldout, exp040@quick \| [\d.]+ \[[\d., ]+\] at ½ \|", text)
    assert "AdrenalMNIST3D" not in text


def test_their_own_definitions_keep_their_own_names():
    rows = [
        ours("exp010@quick", 0.6, dataset="lesions", checkpoint="best"),
        ours("exp011@quick", 0.5, dataset="lesions"),
    ]
    text = beside(rows)
    assert "system | Dice (ours: dice_pos) | IoU (ours: iou_pos) |" in text
    assert "Tversky | 0.0864 | 0.0476 | 0.8454 |" in text
    assert "heldout, exp010@quick* |" in text
    assert "heldout, exp011@quick |" in text
    assert text.count("* the checkpoint was chosen") == 1
    assert "* the checkpoint" not in beside(rows[1:])


def test_goals_are_told_with_the_best_of_ours_and_what_was_tried_in_vain(monkeypatch):
    goals = [Goal("dice_pos", 0.45), Goal("dice_pos", 0.7, tried="much"), Goal("ece", 0.1, "bones", "little")]
    goals += [Goal("roc_auc", 0.9), Goal("dice_pos", 0.1, "hands")]
    monkeypatch.setattr(baselines, "baselines", lambda: [replace(ENTRY, goals=goals)])
    records = [result_of(row) for row in (ours("exp040", 0.4, also={"ece": 0.08}), blend("best", 0.5))]
    [found] = comparisons(records)
    assert found.notes[0] == (
        "Goals: dice_pos at least 0.45, reached: 0.5000 (best); dice_pos at least 0.7, not reached: 0.5000 (best), "
        "tried: much; ece at most 0.1, reached: 0.0800 (exp040); roc_auc at least 0.9, not measured; "
        "dice_pos at least 0.1, not measured."
    )


def test_ours_by_their_protocol_stand_below_ours_and_stay_where_they_cannot_be_scored(home, finish, monkeypatch):
    spec = finish(seeds=(0,))
    line = ScoreLine(who="their protocol", values={"roc_auc": 0.25}, cases="9 images", differs="another part")
    other = line.model_copy(update={"values": {"kappa": 0.5}})
    entry = replace(ENTRY, roots=[family_of(spec)], datasets=[], metrics=["roc_auc"])
    monkeypatch.setattr(baselines, "baselines", lambda: [entry])
    scored = {spec: [line, other]}
    monkeypatch.setattr("heldout.report.results.by_their_protocols", lambda _: scored)
    assert run(["results"]) == 0
    before = (home / "RESULTS.md").read_text()
    assert f"\n| heldout, {spec}, by their protocol | 0.2500 | 9 images | another part |" in before
    assert before.count("by their protocol |") == 1
    scored.clear()
    assert run(["results"]) == 0
    assert (home / "RESULTS.md").read_text() == before
    shutil.rmtree(home / "working" / "runs")
    assert run(["results"]) == 0
    assert (home / "RESULTS.md").read_text() == before
    finish(seeds=(0, 1))
    assert run(["results"]) == 0
    assert "by their protocol |" not in (home / "RESULTS.md").read_text()  # of other fits nothing is known


def test_by_their_protocol_the_blend_stands_for_its_run(monkeypatch):
    monkeypatch.setattr(baselines, "baselines", lambda: [ENTRY])
    line = ScoreLine(who="their protocol", values={"dice_pos": 0.25}, cases="9 images", differs="another part")
    records = [result_of(row, by_theirs=[line]) for row in (ours("exp040"), blend("best", 0.5))]
    records.append(result_of(ours("exp041", dataset="hands"), by_theirs=[line]))
    [found] = comparisons(records)
    assert [row[0] for row in found.rows] == [
        "heldout, exp040",
        "heldout, blend best",
        "heldout, blend best, by their protocol",
        "heldout, exp041",
        "heldout, exp041, by their protocol",
    ]


def test_goals_are_scores_of_datasets_that_stand_there():
    for entry in ENTRIES:
        for goal in entry.goals:
            assert goal.metric in entry.metrics
            assert goal.dataset in ("", *entry.datasets)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.title)
def test_every_figure_of_the_file_has_a_column(entry):
    columns = {entry.own_names.get(name, name) for name in entry.metrics}
    assert all(set(system.values) <= columns for system in entry.systems)


def test_the_note_on_real_lesions_is_what_the_benchmark_measured():
    stored = json.loads((files.REPOSITORY / "benchmarks" / "results" / "ms_lesions.json").read_text())
    measured = {one["what"]: one["value"] for one in stored["measurements"]}
    mean = measured.pop("dice, mean over patients")
    dice = [value for what, value in measured.items() if what.startswith("dice,")]
    note = next(entry.note for entry in ENTRIES if entry.roots == ["exp010"])
    assert f"mean Dice of {mean:.2f} ({min(dice):.2f} to {max(dice):.2f})" in note
    counts = [
        sum(value for what, value in measured.items() if what.startswith(word))
        for word in ("lesions found,", "lesions,")
    ]
    assert "find {:.0f} of {:.0f} lesions".format(*counts) in note


def test_what_the_source_says_of_its_data_stands_under_the_dataset(home, finish):
    finish(seeds=(0,))
    assert run(["results"]) == 0
    text = (home / "RESULTS.md").read_text()
    assert text.count("\n- Synthetic images: scores say that the machinery works, nothing about medicine.\n") == 1


def test_patients_are_told_only_where_they_are_fewer_than_the_cases(home):
    text = write_results([ours("exp040"), ours("exp041", patients=9, checkpoint="best")])[0].read_text()
    assert "\n- Scored on 20 cases, folds 0, 1; exp041: 20 cases of 9 patients, folds 0, 1.\n" in text
    assert "| exp041\\* |" in text
    assert text.count("\n- \\* the checkpoint was chosen") == 1


def test_a_file_with_rows_of_unknown_runs_is_kept(home, finish, capsys):
    spec = finish(seeds=(0,))
    path = home / "RESULTS.md"
    assert run(["results"]) == run(["results"]) == 0  # rows that are here may be written again
    shipped = (files.REPOSITORY / "RESULTS.md").read_text()
    path.write_text(shipped)
    capsys.readouterr()
    assert run(["results"]) == 2
    error = capsys.readouterr().err
    assert "rows of runs that neither working/ nor exps/results/ has (exp040@quick, exp040_coarse@quick" in error
    assert error.count("\n") == 1
    assert path.read_text() == shipped
    assert run(["results", "--force"]) == 0
    assert spec in path.read_text()


def test_no_row_is_lost_where_the_run_folders_are_gone(home, finish):
    finish(seeds=(0, 1))
    assert run(["results"]) == 0
    before = (home / "RESULTS.md").read_text()
    assert "Trained on a processor, 2 cores." in before
    shutil.rmtree(home / "working" / "runs")
    (home / "RESULTS.md").unlink()
    assert run(["results"]) == 0
    assert (home / "RESULTS.md").read_text() == before


def test_a_record_names_the_weights_that_a_score_is_of_and_its_core_hours(home, finish):
    spec = finish(seeds=(0, 1))
    assert run(["results"]) == 0
    (record,) = stored_results()
    assert len([name for name in record.hashes if name.startswith(f"{spec} seed ")]) == 4
    assert record.core_hours == pytest.approx(2 * 4 * 75 / 3600, abs=1e-3)


def test_a_damaged_record_is_named(home, finish, capsys):
    spec = finish(seeds=(0,))
    assert run(["results"]) == 0
    path = home / "exps" / "results" / f"{spec}.json"
    path.write_text(path.read_text().replace('"fold', '"old'))
    assert run(["results"]) == 2
    assert f"{path} has a missing or wrong folds: restore it, or delete it" in capsys.readouterr().err


def test_the_shipped_results_are_those_of_the_shipped_records(home):
    shutil.copytree(files.REPOSITORY / "exps" / "results", home / "exps" / "results")
    assert run(["results"]) == 0
    assert (home / "RESULTS.md").read_text() == (files.REPOSITORY / "RESULTS.md").read_text()


def test_the_shipped_results_are_short_and_have_narrow_ablations():
    lines = (files.REPOSITORY / "RESULTS.md").read_text().splitlines()
    assert len(lines) <= 270
    heads = [line for line in lines if line.startswith("| experiment |")]
    assert heads
    assert all(line.count("|") <= 7 for line in heads)


def test_names_of_a_user_are_shown_literally(home):
    nasty = "<script> `x` a|b \x1b[2J"
    text = write_results([ours("exp040", title=nasty, dataset=nasty)])[0].read_text()
    assert "&lt;script> \\`x\\` a\\|b \\\\x1b[2J" in text
    assert "<script>" not in text
    assert "\x1b" not in text


def test_a_file_that_somebody_else_wrote_is_kept(home, finish, capsys):
    finish(seeds=(0,))
    path = home / "RESULTS.md"
    path.write_text("# My own results\n\nNo table at all.\n")
    assert run(["results"]) == 2
    assert "was not written by this command, so it was left as it is" in capsys.readouterr().err
    assert path.read_text().startswith("# My own results")
    assert run(["results", "--force"]) == 0
    assert path.read_text().startswith("# Results")
