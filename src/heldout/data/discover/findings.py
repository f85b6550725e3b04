"""What looking at a folder gives: evidence, questions that it leaves open, and a proposal for an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Choice:
    """An answer to a question.

    Attributes:
        text: What it means, with the evidence for it.
        value: What it gives to whoever asked.
    """

    text: str
    value: Any


@dataclass(frozen=True)
class Question:
    """What the files leave open; the likeliest choice comes first.

    Attributes:
        about: One word, by which it can be answered on the command line.
        text: The question.
        choices: Two or more.
    """

    about: str
    text: str
    choices: tuple[Choice, ...]


Ask = Callable[[Question], Choice]


def decide(ask: Ask, about: str, text: str, choices: list[Choice]) -> Any:
    """Value of the only choice, or of the one that is chosen."""
    return (choices[0] if len(choices) == 1 else ask(Question(about, text, tuple(choices)))).value


@dataclass(frozen=True)
class Proposal:
    """An experiment for a dataset, and why.

    Attributes:
        layout: The layout in a few words.
        source: Name of the source.
        task: Name of the task's class.
        options: Of the source.
        fields: Further fields of the experiment.
        found: What was found, by its heading.
    """

    layout: str
    source: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, str] = field(default_factory=dict)

    def with_found(self, found: Mapping[str, str], **fields: Any) -> Proposal:
        """The same with more evidence and fields."""
        return replace(self, found={**self.found, **found}, fields={**self.fields, **fields})
