"""The ablation tables of RESULTS.md: what each experiment changes, and what that is worth beside its parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from heldout.evaluate.ablation import Entry, Measure
from heldout.evaluate.held_out import AT_HALF
from heldout.evaluate.row import Row
from heldout.report.format import BEST_CHECKPOINT, bounds, duration, number, seeds_text, signed

FEW = 20  # patients: a bootstrap of fewer gives intervals that are too narrow
_HEAD = f"""## Ablations

Each line is one idea: what the experiment changes of its parent, and the paired difference to the parent's run under
the same budget, on the patients that both predicted while held out. The interval is a paired bootstrap over patients
(single images where a dataset names none); positive is better, and `p` is the share of draws in which the child is
better. Bold leaves out 0, on {FEW} patients or more, and also where masks are cut at one half, if that is shown. An
interval says nothing about training anew: most lines are one seed beside one seed. Scores that depend on a threshold
are cross-fitted where `python run.py ablate` has tuned it: each fold is cut at the value (of 255) tuned on the others.
A brief training, or a fold of few patients, can move that value a long way, so the difference at one half stands beside
it.
Times are wall times of a machine that did other work too, without what was trained before to begin from or look at.
Lines without a time need no training: they put trained networks together otherwise. Blends, last, stand beside the best
of their members; their networks' training time is a sum.
"""


def ablation_tables(found: Mapping[str, list[Entry]], rows: Sequence[Row]) -> str:
    """All families' tables; empty without a scored run."""
    if not found:
        return ""
    alone = [f"{row.name} {row.metric} {seeds_text(row)}" for row in rows if row.seed_spread is not None]
    seeds = f"Seeds alone, where several were trained: {'; '.join(alone)}.\n" if alone else ""
    return "\n".join([_HEAD + seeds, *(_family(name, entries) for name, entries in sorted(found.items()))])


def unscored(found: Mapping[str, list[Entry]]) -> list[str]:
    """Runs that have no score in the tables, and why."""
    entries = (entry for family in found.values() for entry in family)
    return _reasons((entry.name, entry.main) for entry in entries if entry.main.score is None)


def _reasons(measured: Iterable[tuple[str, Measure]]) -> list[str]:
    """A line for every reason: whom it concerns, and what it is."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for name, measure in measured:
        if measure.why:
            names[measure.why][name] = None
    return [f"{', '.join(concerned)}: {why.rstrip('.')}" for why, concerned in names.items()]


def _family(name: str, entries: list[Entry]) -> str:
    presence = any(entry.presence is not None for entry in entries)
    columns = ["experiment", "changed", "budget", "score", "against the parent"]
    columns += ["presence roc_auc", "against the parent"] if presence else []
    columns += ["trained"]
    lines = [f"### {name}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [_line(entry, presence) for entry in entries]
    return "\n".join([*lines, *_notes(entries), ""])


def _notes(entries: list[Entry]) -> list[str]:
    """What stands below a table: why differences are missing, what is untuned, and what was chosen by its own score."""
    measured = ((entry.name, measure) for entry in entries for measure in (entry.main, entry.presence) if measure)
    lines = [f"{line}." for line in _reasons(measured)]
    untuned = sorted({entry.name.partition(":")[0] for entry in entries if entry.threshold == AT_HALF})
    if untuned:
        command = f"`python run.py ablate {' '.join(untuned)}`"
        lines.append(f"Masks and calls cut at one half (marked ½): {command} tunes them on the other folds.")
    if any(entry.best_checkpoint for entry in entries):
        lines.append(BEST_CHECKPOINT)
    return ["", *(f"- {line}" for line in lines)] if lines else []


def _line(entry: Entry, presence: bool) -> str:
    mark = " ½" if entry.threshold == AT_HALF else ""
    cut = f", cut at {entry.thresholds}" if entry.thresholds else ""
    parent = f"{entry.parent} with {entry.changed}" if entry.parent else "first of its line"
    cells = [
        entry.name + ("\\*" if entry.best_checkpoint else ""),
        parent,
        entry.budget,
        f"{entry.metric} {_score(entry.main)}{mark}{cut}",
        _gain(entry.main, entry.at_half) if entry.parent else "-",
    ]
    if presence:
        measured = entry.presence
        cells += ["-", "-"] if measured is None else [_score(measured), _gain(measured) if entry.parent else "-"]
    cells.append("-" if entry.seconds is None else duration(entry.seconds))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _score(measure: Measure) -> str:
    return f"{number(measure.score)} {bounds(measure.low, measure.high)}".strip()


def _gain(measure: Measure, half: Measure | None = None) -> str:
    if measure.gain is None:
        return "-"
    bold = "**" if _clear(measure) and (half is None or _clear(half) == _clear(measure)) else ""
    text = (
        f"{bold}{signed(measure.gain)}{bold} {_interval(measure)}, p {measure.chance:.2f}, {measure.patients} patients"
    )
    if half is None or half.gain is None:
        return text
    return f"{text}; at one half {signed(half.gain)} {_interval(half)}"


def _interval(measure: Measure) -> str:
    return f"[{measure.gain_low:+.3f}, {measure.gain_high:+.3f}]"


def _clear(measure: Measure) -> int:
    """1 where the child is better beyond doubt, -1 where it is worse, 0 where nobody knows."""
    if measure.gain is None or measure.patients < FEW:
        return 0
    return int(measure.gain_low > 0) - int(measure.gain_high < 0)
