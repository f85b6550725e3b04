"""The skeleton of an article for LaTeX: what was done and found is filled in, what it means is left to its authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heldout import files
from heldout.errors import UserError
from heldout.escape import Latex, latex
from heldout.evaluate.collect import open_row
from heldout.evaluate.held_out import HeldOut
from heldout.report.card import card_facts, fact_name, shown_value
from heldout.report.figures import draw_selection
from heldout.report.format import interval_text
from heldout.report.records import CardFacts
from heldout.report.references import bibliography, cited_works
from heldout.report.sections.blocks import TableBlock
from heldout.report.sections.overview import claim, overview
from heldout.report.tables import latex_table
from heldout.report.templates import render
from heldout.report.vector import draw_curves, draw_scores

_TOPICS = {
    "input": "Input",
    "model": "Network",
    "training": "Training",
    "output": "Prediction",
    "calibration": "Calibration",
}


@dataclass(frozen=True)
class Named:
    """A piece of the article: a name, its text, and further paragraphs by topic."""

    name: str
    text: str
    topics: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Captioned:
    """A table's text, or a figure's file, with its caption."""

    caption: str
    text: Latex | None = None
    file: str = ""


def write_article(names: Sequence[str], folder: Path) -> Path:
    """Write ``article.tex``, ``references.bib`` and ``figures/`` on runs and blends.

    Args:
        names: Specs of runs and names of blends.
        folder: Where to write; the article itself is not overwritten, since its authors write in it.

    Returns:
        ``article.tex``.

    Raises:
        UserError: there is an article already, or one of the names does not exist or has no finished fold.
    """
    path = folder / "article.tex"
    if path.exists():
        raise UserError(f"{path} exists and may hold your own text: name another folder, or move it away")
    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise UserError(f"{repeated[0]} is named twice: name every run or blend of a report once")
    subjects = [open_row(name) for name in names]
    facts = [card_facts(name)[0] for name in names]
    works = cited_works(subjects)
    files.write_text(folder / "references.bib", bibliography(works))
    text = render(
        "article.tex",
        title=subjects[0].row.title.rstrip("."),
        abstract=_abstract(subjects),
        data=_data(facts),
        methods=[_method(subject, one) for subject, one in zip(subjects, facts, strict=True)],
        evaluation=f"{claim(subjects)} Intervals are 95 % intervals over patients.",
        cited=Latex(f"heldout~\\cite{{{','.join(works)}}}"),
        tables=[
            Captioned(block.caption, Latex(_without_titles(block)))
            for block in overview(subjects).blocks
            if isinstance(block, TableBlock)
        ],
        figures=_figures(subjects, folder / "figures"),
        limits=list(dict.fromkeys(limit for one in facts for limit in one.limits)),
        hashes=[Named(*pair) for one in facts for pair in _hashes(one)],
    )
    files.write_text(path, text)
    return path


def _without_titles(table: TableBlock) -> str:
    """A table for LaTeX; titles, which stand in the methods, would make it too wide to be read."""
    kept = [k for k, column in enumerate(table.columns) if column != "title"]
    return latex_table([table.columns[k] for k in kept], [[row[k] for k in kept] for row in table.rows])


def _abstract(subjects: Sequence[HeldOut]) -> str:
    """A sentence for every score."""
    scores = [f"{s.name} reached a {s.row.metric} of {interval_text(s.row)} on {s.row.dataset}" for s in subjects]
    return f"On out-of-fold predictions, {'; '.join(scores)}."


def _data(facts: Sequence[CardFacts]) -> list[Named]:
    """A paragraph for every dataset."""
    found = {}
    for one in facts:
        data, parts = one.data, ", ".join(f"{count} in the part {part}" for part, count in one.data.cases.items())
        found[data.dataset] = (
            f"{data.dataset} holds {sum(data.cases.values())} cases of {data.patients} patients ({parts}); license: "
            f"{data.license_of_the_data}. Classes: {', '.join(one.task.classes)}. Folds: {data.folds}. "
            f"Fold table {one.hashes.fold_table[:16]}, data {one.hashes.data[:16]}."
        )
    return [Named(name, text) for name, text in found.items()]


def _method(subject: HeldOut, facts: CardFacts) -> Named:
    """What a run or blend is, from the fields of its experiments."""
    values = facts.to_json()
    topics = [
        (title, "; ".join(f"{fact_name(key)}: {shown_value(value)}" for key, value in values[key_].items()))
        for key_, title in _TOPICS.items()
    ]
    seal = facts.hashes.seal
    sealed = f" The decision was sealed before any test evaluation, with the hash {seal[:16]}." if seal else ""
    return Named(subject.name, f"{facts.title.rstrip('.')}.{sealed} {facts.test.said}", topics)


def _figures(subjects: Sequence[HeldOut], folder: Path) -> list[Captioned]:
    """Draw scores, learning curves and cases as PDF."""
    draw_scores([subject.row for subject in subjects], folder / "scores.pdf")
    found = [
        Captioned(
            "Scores on out-of-fold predictions with 95 % intervals over patients; dots are folds.", file="scores.pdf"
        )
    ]
    for number, subject in enumerate(subjects):
        if not subject.is_blend and draw_curves(subject, folder / f"curves{number}.pdf"):
            found.append(
                Captioned(f"Learning curves of {subject.name}, a line for each fit.", file=f"curves{number}.pdf")
            )
        title = f"{subject.name} on {subject.dataset_name}, out-of-fold"
        draw_selection(subject, title, folder / f"cases{number}.pdf")
        found.append(Captioned(f"Cases of {subject.name} from the worst to the best.", file=f"cases{number}.pdf"))
    return found


def _hashes(facts: CardFacts) -> list[tuple[str, str | Latex]]:
    """Name and hash of the decision, its data and its folds."""
    known = {"identity": facts.hashes.identity, "data": facts.hashes.data, "fold table": facts.hashes.fold_table}
    known |= {"seal": facts.hashes.seal} if facts.hashes.seal else {}
    return [
        (f"{facts.name}, {what}", Latex(f"\\texttt{{{latex(value[:32])}}}\\ldots")) for what, value in known.items()
    ]
