"""What a fold's epochs looked like: ``metrics.csv``, TensorBoard and a chart, each written anew from the same rows.

Writing them anew instead of appending means that a resumed run neither repeats nor loses an epoch.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from heldout import files
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

LOSS_COLOR, SCORE_COLOR, RATE_COLOR = "#1f5fa8", "#c2571a", "#7a7a7a"


@dataclass(frozen=True)
class EpochRow:
    """A finished epoch.

    Attributes:
        epoch: Its number, from 1.
        train_loss: Mean loss of its batches.
        lr: Learning rate of the last batch.
        seconds: Wall time, validation included.
        score: Of the validation; None where there was none or it is undefined.
        wall_time: When it ended, in seconds since 1970.
    """

    epoch: int
    train_loss: float
    lr: float
    seconds: float
    score: float | None
    wall_time: float

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The row in a stored state; earlier versions named the score ``val_<metric>``."""
        return cls(**{"score" if key.startswith("val_") else key: value for key, value in stored.items()})

    def columns(self, metric: str) -> dict[str, float | None]:
        """What users read of it, by column."""
        values = {"train_loss": self.train_loss, "lr": self.lr, "seconds": self.seconds}
        return {"epoch": self.epoch, **values, f"val_{metric}": self.score}


Rows = Sequence[EpochRow]


def write_metrics(folder: Path, rows: Rows, metric: str) -> None:
    """Write ``metrics.csv``: epoch, train_loss, lr, seconds, val_<metric>; empty where there was no validation."""
    shown = [row.columns(metric) for row in rows]
    lines = [",".join(shown[0])]
    lines += [",".join("" if value is None else repr(value) for value in row.values()) for row in shown]
    files.write_text(folder / "metrics.csv", "\n".join(lines) + "\n")


def read_metrics(folder: Path) -> pd.DataFrame | None:
    """The table in ``metrics.csv``, in the order of the epochs; None where there is none.

    Raises:
        UserError: it is damaged, or lacks a column.
    """
    import pandas as pd

    path, remedy = folder / "metrics.csv", "restore it, or delete it to go without curves"
    if not path.is_file():
        return None
    try:
        epochs = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): {remedy}") from None
    for name in ("epoch", "train_loss", "lr"):
        if name not in epochs or not pd.api.types.is_numeric_dtype(epochs[name]):
            raise UserError(f"{path} has no numbers in a column {name}: {remedy}")
    return epochs


def write_tensorboard(folder: Path, rows: Rows, metric: str) -> None:
    """Write ``tensorboard/events.out.tfevents.heldout``, of which an earlier one is always the beginning."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    def values(row: EpochRow) -> list[Any]:
        shown = {name: value for name, value in row.columns(metric).items() if name != "epoch" and value is not None}
        return [Summary.Value(tag=name, simple_value=value) for name, value in shown.items()]

    events = [(row.epoch, row.wall_time, values(row)) for row in rows]
    write_events(folder / "tensorboard" / "events.out.tfevents.heldout", events)


def write_events(path: Path, events: Iterable[tuple[int, float, list[Any]]]) -> None:
    """Write an event file of TensorBoard at once.

    Args:
        path: The file.
        events: Step, seconds since 1970, and values (``Summary.Value``) of every event; none leaves no file.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for step, moment, values in events:
        if not buffer.tell():
            writer.write(Event(wall_time=moment, file_version="brain.Event:2").SerializeToString())
        writer.write(Event(wall_time=moment, step=step, summary=Summary(value=values)).SerializeToString())
    if buffer.tell():
        files.write_bytes(path, buffer.getvalue())


def draw_curves(folder: Path, rows: Rows, title: str, metric: str, best_epoch: int | None = None) -> None:
    """Draw ``curves.png``: training loss and validation score above, learning rate below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) < 40 else None
    above.plot(epochs, [row.train_loss for row in rows], color=LOSS_COLOR, marker=marker, ms=3.5, lw=1.8)
    above.set_ylabel("training loss", color=LOSS_COLOR)
    scored = [(row.epoch, row.score) for row in rows if row.score is not None]
    if scored:
        right = above.twinx()
        right.plot(*zip(*scored, strict=True), color=SCORE_COLOR, marker="s", ms=3.5, lw=1.8)
        right.set_ylabel(f"held-out {metric}", color=SCORE_COLOR)
        right.spines[["top", "left"]].set_visible(False)
        if best_epoch is not None:
            right.axvline(best_epoch, color=SCORE_COLOR, lw=1, ls=":", alpha=0.8)
    below.plot(epochs, [row.lr for row in rows], color=RATE_COLOR, lw=1.8)
    below.fill_between(epochs, [row.lr for row in rows], color=RATE_COLOR, alpha=0.15)
    below.set(ylabel="learning rate", xlabel="epoch", ylim=(0, None))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.write_bytes(folder / "curves.png", buffer.getvalue())
