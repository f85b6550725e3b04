"""The ablation tables of RESULTS.md: what each experiment changes, and what that is worth beside its parent."""

from __future__ import annotations

from collections.abc import Sequence

from heldout.deliver.ablation import Entry, Measure, ablations
from heldout.deliver.ablation_members import AT_HALF
from heldout.deliver.row import Row
from heldout.deliver.texts import bounds, duration, number, signed

_HEAD = """## Ablations

Each line is one idea: what the experiment changes of its parent, and the paired difference to the parent's run under
the same budget, on the patients that both predicted while held out. The interval is a paired bootstrap over patients;
positive is better, bold where the interval leaves out 0, and `p` is the share of draws in which the child is better.
Scores that depend on a threshold are cross-fitted where `python run.py ablate` has tuned it: each fold is cut at the
value tuned on the others. Lines without a training time need none: they put trained networks together otherwise.
Blends, last, stand beside the best of their members; their networks' training time is a sum.
"""


def ablation_tables(rows: Sequence[Row]) -> str:
    """All families' tables; empty without a scored run."""
    found = ablations(rows)
    if not found:
        return ""
    return "\n".join([_HEAD, *(_family(name, entries) for name, entries in sorted(found.items()))])


def _family(name: str, entries: list[Entry]) -> str:
    presence = any(entry.presence is not None for entry in entries)
    columns = ["experiment", "changed", "budget", "score", "against the parent"]
    columns += ["presence roc_auc", "against the parent"] if presence else []
    columns += ["trained"]
    lines = [f"### {name}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [_line(entry, presence) for entry in entries]
    untuned = sorted({entry.name for entry in entries if entry.how == AT_HALF})
    if untuned:
        lines += ["", f"Masks and calls cut at one half (marked ½): `python run.py ablate {' '.join(_specs(untuned))}`"]
        lines[-1] += " tunes them on the other folds."
    return "\n".join([*lines, ""])


def _specs(names: list[str]) -> list[str]:
    return sorted({name.partition(":")[0] for name in names})


def _line(entry: Entry, presence: bool) -> str:
    mark = " ½" if entry.how == AT_HALF else ""
    parent = f"{entry.parent} with {entry.changed}" if entry.parent else "first of its line"
    cells = [
        entry.name,
        parent,
        entry.budget,
        f"{entry.metric} {_score(entry.main)}{mark}",
        _gain(entry.main) if entry.parent else "-",
    ]
    if presence:
        measured = entry.presence
        cells += ["-", "-"] if measured is None else [_score(measured), _gain(measured) if entry.parent else "-"]
    cells.append("-" if entry.seconds is None else duration(entry.seconds))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _score(measure: Measure) -> str:
    return f"{number(measure.score)} {bounds(measure.low, measure.high)}".strip()


def _gain(measure: Measure) -> str:
    if measure.gain is None:
        return measure.why
    clear = "" if measure.gain_low is None or measure.gain_low <= 0 <= measure.gain_high else "**"
    text = f"{clear}{signed(measure.gain)}{clear} [{measure.gain_low:+.3f}, {measure.gain_high:+.3f}]"
    return f"{text}, p {measure.chance:.2f}, {measure.patients} patients"
