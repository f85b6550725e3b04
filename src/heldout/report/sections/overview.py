"""The first part of a report: everything in one chart and table, and who is better than whom."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from heldout.blend.ledger import read_ledger
from heldout.errors import UserError
from heldout.evaluate.ablation import parent_of
from heldout.evaluate.compare import Verdict, compare_held_out
from heldout.evaluate.held_out import HeldOut
from heldout.evaluate.row import groups
from heldout.report.columns import columns
from heldout.report.format import bounds, count, lineage, number, signed
from heldout.report.sections.blocks import Block, FigureBlock, Heading, Section, TableBlock, Text
from heldout.report.svg import Bar, bar_chart, forest


def overview(subjects: Sequence[HeldOut]) -> Section:
    """Scores of all side by side, paired comparisons, and what each child's idea is worth."""
    blocks: list[Block] = []
    rows = [subject.row for subject in subjects]
    for number_, ((dataset, metric, _), members) in enumerate(groups(rows).items()):
        caption = "Square: score with its 95 % interval over patients; hollow where not ranked. Dots: folds."
        forest_block = FigureBlock(f"scores{number_ or ''}", forest(members, metric), f"{dataset}: {metric}. {caption}")
        blocks += [forest_block] if forest_block.content else []
    shown = columns("name", "title", "metric", "score", "cases", "budget", "seconds", "parameters")
    table = [tuple(column.text(row) for column in shown) for row in rows]
    blocks.append(TableBlock(tuple(column.header for column in shown), table, "Scores on held-out predictions"))
    blocks += [Text(f"{row.name}: {row.note}.") for row in rows if row.note]
    verdicts = _verdicts(subjects)
    if verdicts:
        blocks += [Heading("Compared pair by pair"), _compared(verdicts)]
        notes = dict.fromkeys(note for found in verdicts.values() if isinstance(found, Verdict) for note in found.notes)
        blocks += [Text(f"Note: {note}.") for note in notes]
    return Section("Overview", [*blocks, *_ablation(subjects, verdicts)])


def _verdicts(subjects: Sequence[HeldOut]) -> dict[tuple[str, str], Verdict | str]:
    """Every pair with its verdict, or the reason why there is none."""
    found: dict[tuple[str, str], Verdict | str] = {}
    for one, other in itertools.combinations(subjects, 2):
        try:
            found[one.name, other.name] = compare_held_out(one, other)
        except UserError as error:
            found[one.name, other.name] = str(error)
    return found


def _compared(verdicts: dict[tuple[str, str], Verdict | str]) -> TableBlock:
    rows = []
    for (first, second), found in verdicts.items():
        if isinstance(found, str):
            rows.append((f"{first} - {second}", "-", "-", "-", "-", found))
            continue
        gain, low, high, chance = found.gain_of(first)
        verdict = f"{found.better} is better" if found.distinct else "cannot be told apart"
        on = f"{found.patients}{', those both predicted' if found.only_shared else ''}"
        rows.append((f"{first} - {second}", signed(gain), bounds(low, high), f"{chance:.2f}", on, verdict))
    columns = ("pair", "gain", "95 % interval", "probability that the first is better", "patients", "verdict")
    return TableBlock(columns, rows, "Paired over the patients that both predicted; positive: the first is better")


def _ablation(subjects: Sequence[HeldOut], verdicts: dict[tuple[str, str], Verdict | str]) -> list[Block]:
    """What each child gains over its parent, where both are in the report under one budget."""
    known = {subject.name: subject for subject in subjects}
    bars = []
    for subject in subjects:
        row = subject.row
        parent = parent_of(row) or ""
        found = verdicts.get((subject.name, parent)) or verdicts.get((parent, subject.name))
        if parent not in known or not isinstance(found, Verdict) or subject.seeds != known[parent].seeds:
            continue  # a mean of several seeds beside one would be attributed to the change
        gain, low, high, chance = found.gain_of(subject.name)
        name = f"{row.name}: {', '.join(row.changed)}"
        bars.append(Bar(name, gain, low, high, f"{signed(gain)} {bounds(low, high)}, p {chance:.2f}"))
    if not bars:
        return []
    metrics = ", ".join(dict.fromkeys(subject.row.metric for subject in subjects))
    chart = bar_chart(bars, "What each change is worth", f"gain in {metrics} over the parent")
    changes = "; ".join(f"{s.name}: {lineage(s.row)}" for s in subjects if s.row.parent)
    caption = (
        "Gain of every child over its parent on the patients that both predicted, 95 % intervals; thresholds are "
        f"cross-fitted. {changes}."
    )
    return [Heading("What each change is worth"), FigureBlock("ablation", chart, caption)]


def claim(subjects: Sequence[HeldOut]) -> str:
    """What all numbers of the report are computed from, in a sentence or two."""
    entries = read_ledger()
    datasets = dict.fromkeys(subject.row.dataset for subject in subjects)
    evals = {dataset: sum(entry.evaluation.dataset == dataset for entry in entries) for dataset in datasets}
    text = (
        "Every number and every figure here is made from out-of-fold predictions of the train part: each case was "
        "predicted by networks that never saw its patient, and whatever was tuned was tuned on the other folds. "
        "Nothing of a locked test part is shown"
    )
    seen = [f"{dataset}: {count(number_, 'test evaluation')}" for dataset, number_ in evals.items() if number_]
    return f"{text} ({'; '.join(seen)} so far)." if seen else f"{text}."


def facts(subject: HeldOut) -> list[Block]:
    """What the run or blend is, in a few lines."""
    row = subject.row
    lines = [row.title.rstrip(".") + "."]
    if lineage(row):
        lines.append(f"Differs from its parent: {lineage(row)}.")
    if row.scaled:
        lines.append(f"Budget {row.budget}: {', '.join(row.scaled)}.")
    if row.fold_spread is not None:
        lines.append(f"Standard deviation over folds {number(row.fold_spread)}.")
    if row.seed_spread is not None:
        lines.append(f"Standard deviation over {len(row.seed_scores)} seeds {number(row.seed_spread)}.")
    return [Text(" ".join(lines))]
