"""Curves of one benchmark."""

from __future__ import annotations

from record import RESULTS


def draw(name: str, across: str, up: str, curves: dict[str, tuple[list[float], list[float]]]) -> None:
    """Write ``results/<name>.png``: a line for each pair of values across and up."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for label, (x, y) in curves.items():
        axes.plot(x, y, label=label, marker="o" if len(x) < 20 else None)
    axes.set(xlabel=across, ylabel=up)
    if len(next(iter(curves.values()))[0]) < 20:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 1.05)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
