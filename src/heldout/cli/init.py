"""The command that looks at a dataset and writes its first experiment."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.cli.shared import command, console, finish
from heldout.errors import UserError
from heldout.escape import visible

if TYPE_CHECKING:
    from heldout.data.discover import Choice, Proposal, Question

_FIRST_NUMBER = 100


@command("python run.py init shadows --yes")
def init(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="folder below input/ or $HELDOUT_DATA")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="name of the experiment; by default the next free number")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="take the first choice of every question")] = False,
    answers: Annotated[
        list[str] | None, typer.Option("--answer", metavar="QUESTION=N", help="take choice N; may be repeated")
    ] = None,
) -> None:
    """Look at a dataset, say what was found, and write an experiment that reads it."""
    from heldout import config, files
    from heldout.data.discover import discover
    from heldout.tasks.create import write_experiment

    root = files.dataset_root(dataset)
    asked = _Asked(yes, dict(_answer(text) for text in answers or []))
    try:
        proposal = discover(root, asked)
    finally:
        asked.refuse_if_open(dataset)
    asked.check_used()
    _show(dataset, proposal)
    number = max([_FIRST_NUMBER - 1, *(int(known[3:6]) for known in config.names())]) + 1
    fields: dict[str, Any] = {"dataset": dataset, "source": proposal.source}
    fields |= {"source_options": dict(proposal.options)} if proposal.options else {}
    fields |= dict(proposal.fields) | {"budgets": {"quick": {"epochs": 3}}}
    title = f"{dataset.strip('/').rpartition('/')[2]}: {proposal.layout}."
    written = name or f"exp{number:03d}"
    finish(write_experiment(written, proposal.task, title, fields), f"folds {written}")


class _Asked:
    """Answers questions: by what the command line says, the first choice, or whoever sits at the terminal."""

    def __init__(self, yes: bool, answers: Mapping[str, int]) -> None:
        self._yes, self._answers = yes, answers
        self._seen: list[str] = []
        self._open: list[Question] = []

    def __call__(self, question: Question) -> Choice:
        """One of the question's choices."""
        about = question.about
        self._seen.append(about)
        count = len(question.choices)
        if about in self._answers:
            number = self._answers[about]
            if not 1 <= number <= count:
                raise UserError(f"--answer {about}={number}: the question has the choices 1 ... {count}")
            return question.choices[number - 1]
        if not self._yes and not sys.stdin.isatty():
            self._open.append(question)
            return question.choices[0]
        print(_text(question))
        if self._yes:
            print("  taken: 1")
            return question.choices[0]
        number = 0
        while not 1 <= number <= count:
            number = typer.prompt(f"  Which, 1 to {count}", default=1, type=int)
        return question.choices[number - 1]

    def refuse_if_open(self, dataset: str) -> None:
        """List the questions that nobody could be asked.

        Raises:
            UserError: there are some.
        """
        if self._open:
            print("\n".join(map(_text, self._open)))
            first = self._open[0].about
            raise UserError(
                f"{dataset} leaves {len(self._open)} open questions, and this is not a terminal: add --yes to take the "
                f"first choices, or answers such as --answer {first}=1"
            )

    def check_used(self) -> None:
        """Refuse answers to questions that were not asked.

        Raises:
            UserError: there are some.
        """
        if unused := [about for about in self._answers if about not in self._seen]:
            known = ", ".join(self._seen) or "none"
            raise UserError(f"--answer {unused[0]}: no such question was asked; the questions were {known}")


def _answer(text: str) -> tuple[str, int]:
    about, _, number = text.partition("=")
    if not number.isdigit():
        raise UserError(f"--answer {text!r}: write the question and the number of a choice, such as labels=2")
    return about, int(number)


def _text(question: Question) -> str:
    width, lines = console().width, list[str]()
    for number, choice in enumerate(question.choices, start=1):
        start = f"  {number}  "
        lines += textwrap.wrap(visible(choice.text), width, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join([f"{question.about}: {visible(question.text)}", *lines])


def _show(dataset: str, proposal: Proposal) -> None:
    """Print what was found, a line for each heading, wrapped to the terminal."""
    indent = max(map(len, proposal.found)) + 4
    print(visible(f"{dataset}: {proposal.layout}"))
    for heading, text in proposal.found.items():
        wrapped = textwrap.wrap(
            visible(text), console().width, initial_indent=f"  {heading:{indent - 2}}", subsequent_indent=" " * indent
        )
        print("\n".join(wrapped))
