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
from heldout.report.figures import EXTRA, HIT, INK, PANEL_INCHES, PAPER, finish_figure


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
    known = set(run.table["case_id"])
    if unknown := [case_id for case_id in case_ids if case_id not in known]:
        raise UserError(f"{name} has no out-of-fold prediction of case {unknown[0]!r}: choose a case of the train part")
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(len(cases) * PANEL_INCHES, 2 * PANEL_INCHES + 2.2), facecolor=PAPER)
    axes = figure.subplots(2, len(cases), squeeze=False)
    for (above, below), case in zip(axes.T, cases, strict=True):
        picture, heat = _planar(case)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.55 * (heat > 0))
        if not (heat > 0).any():
            below.set_xlabel(f"no evidence for {case.target}", color=INK, fontsize=8)
        right = (case.score >= 0.5) == case.truth
        for spine in above.spines.values():
            spine.set(color=HIT if right else EXTRA, linewidth=2)
        truth = case.target if case.truth else f"not {case.target}"
        text = f"{case.why}\n{case.case_id[:28]}\ntruth: {truth}\n{case.target} {case.score:.2f}"
        above.set_title(text, color=INK, fontsize=8)
    finish_figure(figure, title, path)


def _planar(case: Explained) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W) or (H, W, 3) in 0 ... 1 and heat (H, W)."""
    low, high = np.percentile(case.image, [0.5, 99.5])
    image = np.clip((case.image - low) / max(high - low, 1e-6), 0, 1)
    if case.heat.ndim == 2:
        return (np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]), case.heat
    index = int(case.heat.sum(axis=(0, 1)).argmax())
    return np.rot90(image[0, ..., index]), np.rot90(case.heat[..., index])
