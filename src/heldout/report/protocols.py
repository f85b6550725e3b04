"""Other systems' own protocols: their split and their metric on held-out predictions of ours, beside their figures.

The project describes them in ``exps/protocols.py``. Their cases are scored on out-of-fold predictions, each by networks
that did not see the case. What else differs is a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heldout.config.loading import has_file, import_file
from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.records import finite
from heldout.report.archive import ScoreLine
from heldout.report.baselines import Baseline, baselines, matching
from heldout.report.format import number

if TYPE_CHECKING:
    from heldout.evaluate.row import Row


@dataclass(frozen=True)
class ScoringProtocol:
    """How a system scores itself.

    Attributes:
        title: Of its entry in ``exps/baselines.json``.
        metrics: Scores that are shown.
        score: From held-out predictions of ours to lines, each by what ``who`` says of it.
    """

    title: str
    metrics: tuple[str, ...]
    score: Callable[[HeldOut], Sequence[ScoreLine]]


def protocols() -> dict[str, ScoringProtocol]:
    """The protocols that the project describes, by name.

    Raises:
        UserError: it describes none, or its file fails.
    """
    if not has_file("protocols"):
        raise UserError("this project describes no protocol of another system: write one in exps/protocols.py")
    found: dict[str, ScoringProtocol] = import_file("protocols").PROTOCOLS
    return found


def lines_of(name: str | None, runs: Sequence[str], rows: Sequence[Row]) -> tuple[ScoringProtocol, list[ScoreLine]]:
    """The table of a protocol: theirs, ours by their protocol, ours by ours.

    Args:
        name: Of the protocol.
        runs: Runs or blends of ours; none takes the best and those beside it, as RESULTS.md does.
        rows: The leaderboard.

    Raises:
        UserError: no protocol is named, there is no such one, no finished run, or a run of another dataset.
    """
    known = protocols()
    if name is None:
        raise UserError(f"name a protocol: {', '.join(known)}")
    if name not in known:
        raise UserError(f"there is no protocol {name!r}: choose one of {', '.join(known)}")
    protocol = known[name]
    entry = next((one for one in baselines() if one.title == protocol.title), None)
    if entry is None:
        raise UserError(f"exps/baselines.json has no entry {protocol.title!r}: restore it from the repository")
    chosen = [row for row in rows if row.name in runs] if runs else matching(entry, rows)
    if missing := sorted(set(runs) - {row.name for row in chosen}):
        raise UserError(f"{missing[0]} has no row on the leaderboard: train it, or name another run or blend")
    if not chosen:
        raise UserError(
            f"there is no finished run for {name}: train one of {', '.join(entry.roots)} or their families, as by "
            f"`python run.py {entry.roots[0]}`"
        )
    lines = [
        ScoreLine(
            who=system.name,
            values=_shown(system.values, protocol, entry),
            cases=system.data,
            differs=f"{system.split}; {system.budget}",
        )
        for system in entry.systems
    ]
    for row in chosen:
        if entry.datasets and row.dataset not in entry.datasets:
            raise UserError(f"{row.name} is of {row.dataset}: name a run of {', '.join(entry.datasets)}")
        scored = protocol.score(open_held_out(row.name, row))
        lines += [line.model_copy(update={"who": f"{row.name}, by {line.who}"}) for line in scored]
        lines.append(_by_ours(row, protocol))
    return protocol, lines


def by_their_protocols(rows: Sequence[Row]) -> dict[str, list[ScoreLine]]:
    """What the runs and blends beside other systems score by the protocols of these, by name.

    Those that cannot be scored are left out, such as those whose dataset is not here.

    Args:
        rows: The leaderboard.
    """
    found: dict[str, list[ScoreLine]] = {}
    by_title = {one.title: one for one in baselines()}
    for protocol in protocols().values() if has_file("protocols") else ():
        for row in matching(by_title[protocol.title], rows) if protocol.title in by_title else ():
            with suppress(UserError):
                lines = [_defined(line) for line in protocol.score(open_held_out(row.name, row))]
                if lines := [line for line in lines if line.values]:
                    found.setdefault(row.name, []).extend(lines)
    return found


def _defined(line: ScoreLine) -> ScoreLine:
    return line.model_copy(update={"values": {name: x for name, x in line.values.items() if finite(x) is not None}})


def table_of(protocol: ScoringProtocol, lines: Sequence[ScoreLine]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells."""
    cells = [[line.who, *(number(line.values.get(metric)) for metric in protocol.metrics)] for line in lines]
    return ["who", *protocol.metrics], cells


def _shown(values: dict[str, float], protocol: ScoringProtocol, entry: Baseline) -> dict[str, float]:
    return {name: values[own] for name in protocol.metrics if (own := entry.own_names.get(name, name)) in values}


def _by_ours(row: Row, protocol: ScoringProtocol) -> ScoreLine:
    values = {row.metric: row.score, **row.also}
    found = {name: value for name in protocol.metrics if (value := values.get(name)) is not None}
    folds = ", ".join(map(str, sorted({fit.fold for fit in row.fits}) or sorted(row.fold_scores)))
    split = f"out of fold, folds {folds}; duplicates in one fold; thresholds of other folds"
    return ScoreLine(who=f"{row.name}, by ours", values=found, cases=f"{row.cases} cases", differs=split)
