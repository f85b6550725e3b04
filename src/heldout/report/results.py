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
from heldout.evaluate.ablation import AblationRow, Measure, ablations, family_of
from heldout.evaluate.held_out import AT_HALF
from heldout.evaluate.row import Row
from heldout.report.archive import ResultRecord, merged, result_of, stored_results
from heldout.report.baselines import comparisons
from heldout.report.charts import write_costs
from heldout.report.format import BEST_CHECKPOINT, asterisk, bounds, cases_text, number, seeds_text, signed
from heldout.report.format import test_evals_text as evals_text
from heldout.report.protocols import by_their_protocols
from heldout.report.templates import render

_HEAD = "# Results\n\nWritten by `python run.py results`"
_DAGGER = " †"  # of a record with a remark
FEW = 20  # patients: intervals of fewer rest on too little
_COLUMNS = ("experiment", "change of the parent", "score", "at ½", "gain over the parent", "core-hours")


@dataclass(frozen=True)
class DatasetResults:
    """The part of RESULTS.md about one dataset.

    Attributes:
        name: The dataset.
        caveats: What its source says that a reader of the scores must know.
        charts: Name and file of each chart of score against core-hours.
        rows: Cells of the ablation table.
        notes: Notes below it: test scores, single seeds, why differences are missing.
    """

    name: str
    caveats: list[str]
    charts: dict[str, str]
    rows: list[list[str]]
    notes: list[str]


def write_results(rows: list[Row], *, force: bool = False) -> tuple[Path, list[str]]:
    """Write ``RESULTS.md`` beside ``working/``, and a record of each score into ``exps/results/``.

    Lines of runs and blends that are not here come from the records of earlier calls.

    Args:
        rows: All rows of the leaderboard.
        force: Overwrite a file that somebody else wrote, or that holds rows of unknown runs.

    Returns:
        Its path, and which runs and blends have no score there, and why.

    Raises:
        UserError: there are no runs, a record is damaged, or the file holds rows that would be lost; it stays as it is.
    """
    stored = stored_results()
    if not rows and not stored:
        raise UserError(f"{files.home() / 'working'} holds no finished run: train first, `python run.py exp001`")
    path = files.home() / "RESULTS.md"
    if not force:
        _refuse_loss(path, [*rows, *stored])
    found = ablations(rows)
    of_run: dict[str, list[AblationRow]] = defaultdict(list)
    for entry in (entry for family in found.values() for entry in family):
        of_run[_run(entry)].append(entry)
    caveats = {name: _caveats(name, rows) for name in {row.dataset for row in rows}}
    theirs = by_their_protocols(rows)
    here = [result_of(row, of_run[row.name], caveats[row.dataset], theirs.get(row.name)) for row in rows]
    records = merged(stored, here)
    text = render(
        "results.md",
        comparisons=comparisons(records),
        columns=_COLUMNS,
        few=FEW,
        notes=_general(records),
        datasets=_datasets(records),
    )
    files.write_text(path, text)
    damaged = [f"{row.name}: {row.note.rstrip('.')}" for row in rows if row.score is None and row.note]
    return path, [*damaged, *_unscored(found)]


def _refuse_loss(path: Path, known: Sequence[Row | ResultRecord]) -> None:
    """Refuse to overwrite a file that somebody else wrote, or that holds rows of unknown runs.

    Raises:
        UserError: it is such a file.
    """
    if not path.is_file():
        return
    if not path.read_text(encoding="utf-8", errors="replace").startswith(_HEAD):
        raise UserError(
            f"{path} was not written by this command, so it was left as it is: move it away, or overwrite it with "
            "`python run.py results --force`"
        )
    if lost := _lost(path, known):
        some = f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
        raise UserError(
            f"{path} holds {len(lost)} rows of runs that neither working/ nor exps/results/ has ({some}), so nothing "
            "was written: restore their folders or records, or overwrite the file with `python run.py results --force`"
        )


def _lost(path: Path, known: Sequence[Row | ResultRecord]) -> list[str]:
    """Runs and blends in the tables of an earlier file that are not known now."""
    names = {markdown(one.name) for one in known}
    found: dict[str, None] = {}
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
        first = line[1:].partition("|")[0].strip() if line.startswith("|") else ""
        if first in ("experiment", "name", "run"):
            inside = True
        elif not first:
            inside = False
        elif inside and not first.startswith("---"):
            name = first.partition(": ")[0].removesuffix(_DAGGER).removesuffix("\\*")
            found |= {} if name in names else {name: None}
    return list(found)


def _datasets(records: Sequence[ResultRecord]) -> list[DatasetResults]:
    """The datasets in the order of their names; of each the runs by family, then the blends.

    Phantoms have no table beside real data.
    """
    grouped: dict[str, list[ResultRecord]] = defaultdict(list)
    from heldout.data.sources.phantom import SYNTHETIC

    real = [one for one in records if not set(SYNTHETIC) & set(one.caveats)]  # phantoms alone are shown where all are
    for record in sorted(real or records, key=lambda one: (family(one), one.kind == "blend", one.name)):
        grouped[record.dataset].append(record)
    made = []
    for name, members in sorted(grouped.items()):
        cells = [_line(record) for record in members]
        caveats = list(dict.fromkeys(caveat for record in members for caveat in record.caveats))
        charts = {
            f"{metric} against core-hours": path.relative_to(files.home()).as_posix()
            for metric in dict.fromkeys(record.metric for record in members)
            if (path := write_costs(name, metric, [record for record in members if record.metric == metric]))
        }
        made.append(DatasetResults(name or "cannot be read", caveats, charts, cells, _notes(members)))
    return made


def family(record: ResultRecord) -> str:
    """Root experiment of a run, of a blend that of its best member."""
    parents = [entry.parent for entry in record.entries if entry.parent]
    return family_of(parents[0] if record.kind == "blend" and parents else record.name)


def _run(entry: AblationRow) -> str:
    """The run or blend of an entry, of a variant too."""
    return entry.name.partition(": ")[0]


def _line(record: ResultRecord) -> list[str]:
    """Cells of a run or blend; one without an entry has no place in an ablation table."""
    entry = next((entry for entry in record.entries if entry.name == record.name), None)
    half = entry is not None and entry.threshold == AT_HALF
    shown = entry.main if entry and entry.main.score is not None else record  # of a damaged run, what its record says
    score = f"{record.metric} {number(shown.score)} {bounds(shown.low, shown.high)}".strip()
    at_half = record.score if half and record.at_half is None else record.at_half
    return [
        record.name + asterisk(record) + (_DAGGER if record.remark else ""),
        f"{entry.parent} with {entry.changed}" if entry and entry.parent else record.title.rstrip("."),
        score + (" ½" if half else ""),
        number(at_half),
        gain_text(entry.main, entry.at_half) if entry and entry.parent else "-",
        "-" if record.score is None or record.core_hours is None else f"{record.core_hours:.2g}",
    ]


def gain_text(measure: Measure, half: Measure | None = None) -> str:
    """A gain with its interval, bold where it is clear, and at one half as well if that is known."""
    if measure.gain is None:
        return "-"
    bold = "**" if _clear(measure) and (half is None or _clear(half) == _clear(measure)) else ""
    return Markdown(f"{bold}{signed(measure.gain)}{bold} {_around(measure)}")


def _around(measure: Measure) -> str:
    """The interval of a gain."""
    return f"[{measure.gain_low:+.3f}, {measure.gain_high:+.3f}]"


def _clear(measure: Measure) -> int:
    """1 where the interval lies above 0, -1 where it lies below, 0 otherwise or on few patients."""
    if measure.gain_low is None or measure.gain_high is None or (measure.patients or 0) < FEW:
        return 0
    return int(measure.gain_low > 0) - int(measure.gain_high < 0)


def _notes(records: Sequence[ResultRecord]) -> list[str]:
    """Cases, test scores, seeds and flips; what is missing, what is not tuned, and what is optimistically biased."""
    lines = _grouped(
        "Scored on",
        {one.name: f"{cases_text(one)}, folds {', '.join(map(str, one.folds))}" for one in records if one.cases},
    )
    for record in records:
        if record.test_evals_by_name:
            score = f"{number(record.test_score)} {bounds(record.test_low, record.test_high)}".strip()
            lines.append(f"{record.name} on the test part: {score}, {evals_text(record)}")
        if record.seed_spread is not None:
            lines.append(f"{record.name}, single seeds: {seeds_text(record)}")
        if record.score is None and record.note:
            lines.append(f"{record.name}: {record.note.rstrip('.')}")
    everything = [(record.name, entry) for record in records for entry in record.entries]
    variants = [entry for name, entry in everything if entry.name != name and entry.main.gain is not None]
    if variants:
        gains = (f"{one.name} {signed(one.main.gain)} {_around(one.main)} over {one.parent}" for one in variants)
        lines.append(f"Seeds and flips: {'; '.join(gains)}")
    entries = [entry for name, entry in everything if entry.name == name]
    if reasons := _reasons((entry.name, entry.main) for entry in entries):
        lines.append("; ".join(reasons))
    if any(entry.threshold == AT_HALF for record in records for entry in record.entries):
        lines.append(
            "Masks and predicted labels at one half (marked ½): one fold alone has nothing to tune thresholds on"
        )
    if any(record.checkpoint == "best" for record in records):
        lines.append(BEST_CHECKPOINT.rstrip("."))
    return [f"{line}." for line in dict.fromkeys(lines)]


def _general(records: Sequence[ResultRecord]) -> list[str]:
    """Processors, and what the sign of a remark means."""
    lines = _grouped("Trained on", {record.name: "; ".join(record.machines) for record in records if record.machines})
    remarks = dict.fromkeys(record.remark for record in records if record.remark)
    return [*(f"{line}." for line in lines), *(f"{_DAGGER.strip()} {remark.rstrip('.')}." for remark in remarks)]


def _grouped(what: str, texts: Mapping[str, str]) -> list[str]:
    """One line that says what holds for most, then for which what else holds."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, text in texts.items():
        names[text].append(name)
    first, *others = sorted(names, key=lambda text: -len(names[text])) or [""]
    said = [f"{what} {first}", *(f"{', '.join(names[text])}: {text}" for text in others)]
    return ["; ".join(said)] if first else []


def _unscored(found: Mapping[str, list[AblationRow]]) -> list[str]:
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
