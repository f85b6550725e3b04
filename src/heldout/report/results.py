"""RESULTS.md: what the real experiments scored, beside other systems and beside their parents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from heldout import files
from heldout.errors import UserError
from heldout.escape import Markdown, markdown
from heldout.evaluate.ablation import Entry, Measure, ablations
from heldout.evaluate.held_out import AT_HALF
from heldout.evaluate.row import Row
from heldout.report.baselines import comparisons
from heldout.report.format import BEST_CHECKPOINT, asterisk, bounds, cases_text, duration, number, seeds_text, signed
from heldout.report.format import test_evals_text as evals_text
from heldout.report.templates import render

_HEAD = "# Results\n\nWritten by `python run.py results`"
FEW = 20  # patients: intervals of fewer rest on too little
_COLUMNS = ("experiment", "change of the parent", "score", "at ½", "gain over the parent", "trained")


@dataclass(frozen=True)
class DatasetResults:
    """The part of RESULTS.md about one dataset.

    Attributes:
        name: The dataset.
        caveats: What its source says that a reader of the scores must know.
        rows: Cells of the ablation table.
        notes: Notes below it: test scores, single seeds, why differences are missing.
    """

    name: str
    caveats: list[str]
    rows: list[list[str]]
    notes: list[str]


def write_results(rows: list[Row], *, force: bool = False) -> tuple[Path, list[str]]:
    """Write ``RESULTS.md`` beside ``working/``.

    Args:
        rows: All rows of the leaderboard.
        force: Overwrite a file that holds rows of runs that are not here.

    Returns:
        Its path, and which runs and blends have no score there, and why.

    Raises:
        UserError: there are no runs, or the file holds rows that would be lost; an existing file stays as it is.
    """
    if not rows:
        raise UserError(f"{files.home() / 'working'} holds no finished run: train first, `python run.py exp001`")
    path = files.home() / "RESULTS.md"
    if not force and path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_HEAD):
        raise UserError(
            f"{path} was not written by this command, so it was left as it is: move it away, or overwrite it with "
            "`python run.py results --force`"
        )
    lost = [] if force else _lost(path, rows)
    if lost:
        some = f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
        raise UserError(
            f"{path} holds {len(lost)} rows that working/ has no run or blend for ({some}), so nothing was written: "
            "restore their folders, or overwrite the file with `python run.py results --force`"
        )
    found = ablations(rows)
    text = render(
        "results.md",
        comparisons=comparisons(rows),
        columns=_COLUMNS,
        few=FEW,
        datasets=_datasets(rows, found),
    )
    files.write_text(path, text)
    damaged = [f"{row.name}: {row.note.rstrip('.')}" for row in rows if row.score is None and row.note]
    return path, [*damaged, *_unscored(found)]


def _lost(path: Path, rows: Sequence[Row]) -> list[str]:
    """Runs and blends in the tables of an earlier file of which there is no row now."""
    if not path.is_file():
        return []
    known = {markdown(row.name) for row in rows}
    found: dict[str, None] = {}
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
        first = line[1:].partition("|")[0].strip() if line.startswith("|") else ""
        if first in ("experiment", "name", "run"):
            inside = True
        elif not first:
            inside = False
        elif inside and not first.startswith("---"):
            name = first.partition(": ")[0].removesuffix("\\*")
            found |= {} if name in known else {name: None}
    return list(found)


def _datasets(rows: Sequence[Row], found: Mapping[str, list[Entry]]) -> list[DatasetResults]:
    """The datasets in the order of their names, with the entries of the ablation tables and what has none."""
    of_name = {row.name: row for row in rows}
    entries: dict[str, list[Entry]] = defaultdict(list)
    for family in sorted(found):
        for entry in found[family]:
            entries[of_name[_run(entry)].dataset].append(entry)
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.dataset].append(row)
    made = []
    for name in sorted(grouped):
        members = grouped[name]
        covered = {_run(entry) for entry in entries[name]}
        cells = [_line(of_name[_run(entry)], entry) for entry in entries[name]]
        cells += [_line(row) for row in members if row.name not in covered]
        made.append(
            DatasetResults(name or "cannot be read", _caveats(name, members), cells, _notes(members, entries[name]))
        )
    return made


def _run(entry: Entry) -> str:
    """The run or blend of an entry, of a variant too."""
    return entry.name.partition(": ")[0]


def _line(row: Row, entry: Entry | None = None) -> list[str]:
    """Cells of a run or blend, or of a variant of it; those without an entry have no place in an ablation table."""
    variant, half = entry is not None and entry.name != row.name, entry is not None and entry.threshold == AT_HALF
    shown = entry.main if entry and entry.main.score is not None else row  # of a damaged run, what its record says
    score = f"{row.metric} {number(shown.score)} {bounds(shown.low, shown.high)}".strip()
    at_half = row.score if half and row.at_half is None else row.at_half
    seconds = entry.seconds if entry else None if row.score is None else row.seconds
    return [
        entry.name if entry and variant else row.name + asterisk(row),
        f"{entry.parent} with {entry.changed}" if entry and entry.parent else row.title.rstrip("."),
        score + (" ½" if half else ""),
        number(None if variant else at_half),
        gain_text(entry.main, entry.at_half) if entry and entry.parent else "-",
        "-" if seconds is None else duration(seconds),
    ]


def gain_text(measure: Measure, half: Measure | None = None) -> str:
    """A gain with its interval, bold where it is clear, and at one half as well if that is known."""
    if measure.gain is None:
        return "-"
    bold = "**" if _clear(measure) and (half is None or _clear(half) == _clear(measure)) else ""
    return Markdown(f"{bold}{signed(measure.gain)}{bold} [{measure.gain_low:+.3f}, {measure.gain_high:+.3f}]")


def _clear(measure: Measure) -> int:
    """1 where the interval lies above 0, -1 where it lies below, 0 otherwise or on few patients."""
    if measure.gain_low is None or measure.gain_high is None or (measure.patients or 0) < FEW:
        return 0
    return int(measure.gain_low > 0) - int(measure.gain_high < 0)


def _notes(rows: Sequence[Row], entries: Sequence[Entry]) -> list[str]:
    """Cases, test scores and single seeds; what is missing, what is not tuned, and what is optimistically biased."""
    scored: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.cases is not None:
            folds = sorted({fit.fold for fit in row.fits} | set(row.fold_scores))
            scored[f"{cases_text(row)}, folds {', '.join(map(str, folds))}"].append(row.name)
    most = max(scored, key=lambda text: len(scored[text]), default="")
    lines = [f"Scored on {most}" + (" unless said otherwise" if len(scored) > 1 else "")] if most else []
    lines += [f"{', '.join(names)}: {text}" for text, names in scored.items() if text != most]
    for row in rows:
        if row.test_evals_by_name:
            score = f"{number(row.test_score)} {bounds(row.test_low, row.test_high)}".strip()
            lines.append(f"{row.name} on the test part: {score}, {evals_text(row)}")
        if row.seed_spread is not None:
            lines.append(f"{row.name}, single seeds: {seeds_text(row)}")
        if row.score is None and row.note:
            lines.append(f"{row.name}: {row.note.rstrip('.')}")
    lines += _reasons((entry.name, entry.main) for entry in entries)
    if any(entry.threshold == AT_HALF for entry in entries):
        lines.append(
            "Masks and predicted labels at one half (marked ½): one fold alone has nothing to tune thresholds on"
        )
    if any(row.checkpoint == "best" for row in rows):
        lines.append(BEST_CHECKPOINT.rstrip("."))
    return [f"{line}." for line in dict.fromkeys(lines)]


def _unscored(found: Mapping[str, list[Entry]]) -> list[str]:
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


def _caveats(name: str, rows: list[Row]) -> list[str]:
    """What the data's source says that a reader of the scores must know, as it was noted when they were checked."""
    from heldout.data.records import read_index, read_leaks

    found: list[str] = []
    start = name.strip("/").replace("/", "_")  # as the folders of checked data are named
    for folder in sorted((files.home() / "working" / "data").glob(f"{escape(start)}-*")):
        with suppress(UserError):  # of damaged tables nothing is known; whoever opens them is told
            if read_index(folder).data_hash in {row.data_hash for row in rows}:
                found += read_leaks(folder).caveats
    return list(dict.fromkeys(found))
