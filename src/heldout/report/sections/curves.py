"""The part of a report about training: loss and held-out score of every epoch, from ``metrics.csv``."""

from __future__ import annotations

from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Block, Heading, Picture, Text
from heldout.report.svg import Line, line_chart


def curve_blocks(subject: HeldOut) -> list[Block]:
    """Learning curves of every fit; of a blend that those stand with its members."""
    if subject.row.kind == "blend":
        members = ", ".join(dict.fromkeys(member.spec for member in subject.members))
        return [Heading("Learning curves"), Text(f"Nothing was trained for a blend: see the reports of {members}.")]
    import pandas as pd

    metric, loss, scores, rate = subject.row.metric, [], [], []
    for number, fit in enumerate(subject.members[0].fits):
        path = fit.folder / "metrics.csv"
        if not path.is_file():
            continue
        epochs = pd.read_csv(path)
        if not {"epoch", "train_loss", "lr"} <= set(epochs):
            raise UserError(f"{path} lacks epoch, train_loss or lr: restore it, or delete it to go without curves")
        name, dashed = f"seed {fit.seed}, fold {fit.fold}", number >= 6
        loss.append(_line(name, epochs, "train_loss", number, dashed))
        rate.append(_line(name, epochs, "lr", number, dashed))
        if f"val_{metric}" in epochs:
            scores.append(_line(name, epochs.dropna(subset=f"val_{metric}"), f"val_{metric}", number, dashed))
    parts = (
        ("loss", loss, "training loss", "Training loss of every epoch."),
        ("validation", scores, f"held-out {metric}", f"Held-out {metric}, where validated on the way; without flips."),
        ("rate", rate, "learning rate", "Learning rate at the end of every epoch."),
    )
    blocks: list[Block] = [
        Picture(name, chart, caption)
        for name, lines, label, caption in parts
        if (chart := line_chart(lines, f"{label} of {subject.name}", "epoch", label))
    ]
    if not any(len(line.points) for line in scores):
        blocks.append(Text("The held-out score was not watched during training, only at its end."))
    return [Heading("Learning curves"), *blocks]


def _line(name: str, epochs: object, column: str, number: int, dashed: bool) -> Line:
    points = list(zip(epochs["epoch"], epochs[column], strict=True))
    sizes = [3.0] * len(points) if len(points) < 40 else []
    return Line(name, points, colour=number, sizes=sizes, dashed=dashed)
