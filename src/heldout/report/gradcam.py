"""Grad-CAM figures of out-of-fold networks on the cases they held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heldout import files
from heldout.blend.members import Member
from heldout.errors import UserError
from heldout.evaluate.cases import choose_best_worst_uncertain
from heldout.evaluate.held_out import open_held_out
from heldout.report.figures import (
    INK,
    PANEL_INCHES,
    finish_figure,
    flat,
    frame,
    new_figure,
    show_image,
    small_print,
    to_colors,
)


@dataclass(frozen=True)
class Explained:
    """A case to draw.

    Attributes:
        case_id: Its name.
        why: Why it was chosen.
        image: Prepared image (C, *S), float 0 ... 1 or z-scores.
        heat: Heat map (*S) in 0 ... 1 of the class ``target``.
        target: Name of that class.
        score: Probability that the network drawn predicted while the case was held out.
        truth: Whether the case has it.
    """

    case_id: str
    why: str
    image: np.ndarray
    heat: np.ndarray
    target: str
    score: float
    truth: bool


def explain(name: str, case_ids: Sequence[str] = ()) -> Path:
    """Draw Grad-CAM maps of held-out cases.

    Args:
        name: Spec of a run whose networks have a label head.
        case_ids: Cases; none takes the best, the worst and the least certain predictions.

    Returns:
        ``working/figures/<name>-gradcam.png``.

    Raises:
        UserError: there is no such run or case, or the network has no label head or feature map.
    """
    run = open_held_out(name)
    if run.is_blend:
        raise UserError(f"{name} is a blend: name one of its members")
    member = run.members[0]
    for case_id in case_ids:
        run.check_predicted(case_id)
    chosen = [(case_id, "asked for") for case_id in case_ids] or choose_best_worst_uncertain(run.case_scores)
    path = files.home() / "working" / "figures" / f"{member.spec}-gradcam.png"
    draw([_explain(member, *one) for one in chosen], f"{member.spec}: Grad-CAM of out-of-fold networks", path)
    return path


def _explain(member: Member, case_id: str, why: str) -> Explained:
    import torch

    from heldout.data.normalize import to_float
    from heldout.predict.gradcam import grad_cam
    from heldout.predict.models import load_model
    from heldout.train.first_stage import with_first_stage

    classes = member.dataset.classes
    # of several seeds the first is drawn, with the prediction of that network
    fit = next(fit for fit in member.fits if case_id in fit.table.index)
    row = fit.table.loc[case_id]
    scores = [float(row[f"p_{name}"]) for name in classes]
    target = int(np.argmax(scores))
    network = load_model(member.config, fit.folder / "weights.safetensors", classes, member.dataset.exclusive)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    prepared = with_first_stage(member.dataset, member.config, progress=False)
    case = (case_id, prepared.image(case_id), prepared.geometry(case_id))
    heat = grad_cam(member.config, network, case, target)
    image = to_float(np.asarray(case[1]))[: member.config.channels]
    name = classes[target]
    return Explained(case_id, why, image, heat, name, scores[target], bool(row[f"y_{name}"] == 1))


def draw(cases: Sequence[Explained], title: str, path: Path) -> None:
    """Draw one column per case: the image above, the heat map on it below; of volumes the slice with most heat."""
    figure, axes = new_figure(2, len(cases), 2 * PANEL_INCHES + 1.3)
    for (above, below), case in zip(axes.T, cases, strict=True):
        image, (heat,) = flat(case.heat[None], case.image, case.heat[None])
        for axis in (above, below):
            show_image(axis, to_colors(image[:1] if case.heat.ndim == 3 else image, case.image))
        # what has no heat is the image as it is
        drawn = below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.75 * heat)
        if not (heat > 0).any():
            below.set_xlabel(f"no evidence for {small_print(case.target)}", color=INK, fontsize=8)
        frame(above, right=(case.score >= 0.5) == case.truth)
        truth = case.target if case.truth else f"not {case.target}"
        lines = (case.why, case.case_id, f"truth: {truth}", f"{case.target} {case.score:.2f}")
        above.set_title("\n".join(map(small_print, lines)), color=INK, fontsize=8)
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(drawn.norm, drawn.cmap), ax=axes[1], fraction=0.03, aspect=25)
    bar.set_label("evidence for the class, of the case's largest", color=INK, fontsize=8)
    bar.ax.tick_params(colors=INK, labelsize=8)
    finish_figure(figure, title, path)
