"""Whether a run's uncertainty finds its errors, on the cases that each network held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout import files
from heldout.blend.members import Member
from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.metrics.uncertainty import Uncertainty, aurc, decompose, error_auroc, region_means, risk_coverage
from heldout.train.record import RunRecord

if TYPE_CHECKING:
    from torch import nn

    from heldout.predict.run import Case
    from heldout.tasks import Task

METHODS = {"dropout": "dropout left on", "flips": "flips at test time", "seeds": "networks of several seeds"}
MEASURES = ("entropy", "aleatoric", "epistemic")
WRONG_BELOW = 0.5  # Dice of a mask that counts as wrong


@dataclass(frozen=True)
class Assessment:
    """What :func:`assess` wrote.

    Attributes:
        folder: Where it lies.
        cases, wrong: Number of cases, and of those predicted wrongly.
        rows: Per method and measure ``auroc`` of finding the wrong ones and ``aurc``.
        mean_loss: Mean loss, which is the AURC of a random ranking.
        oracle: AURC of an oracle.
    """

    folder: Path
    cases: int
    wrong: int
    rows: list[dict[str, Any]]
    mean_loss: float
    oracle: float


def assess(name: str, passes: int = 20, limit: int | None = None) -> Assessment:
    """Measure the uncertainty of out-of-fold networks on the cases they held out.

    Dropout and flips are measured on the first seed's network of each fold, ``seeds`` on all its networks. The
    predictions whose errors are to be found are the stored ones. The loss of a classification is 1
    where its predicted label at one half (of exclusive classes, the most probable one) is wrong; that of a
    segmentation is 1 - Dice over all classes together, and it is wrong where Dice is below 0.5. The Dice of an empty
    mask is 1 where nothing is labeled.

    Args:
        name: Spec of a run with finished folds.
        passes: Passes with dropout.
        limit: Most cases, evenly from those of every fold; None is all.

    Raises:
        UserError: nothing is finished, or the networks have neither dropout nor flips nor several seeds.
    """
    run = open_held_out(name)
    if run.is_blend:
        raise UserError(f"{name} is a blend: name one of its members")
    member = run.members[0]
    chosen = member.cases if limit is None else member.cases.iloc[_spread(len(member.cases), limit)]
    rows = list(_measure(member, chosen, passes))
    table = pd.DataFrame(rows).merge(_errors(run), on="case_id", validate="m:1")
    folder = uncertainty_folder(member.spec)
    summary = _summary(table)
    once = table.drop_duplicates("case_id")
    files.write_text(folder / "cases.csv", table.to_csv(index=False, float_format="%.6g"))
    _draw(table, summary, member.spec, folder / "risk_coverage.png")
    loss = once["loss"].to_numpy()
    result = Assessment(folder, len(once), int(once["wrong"].sum()), summary, float(loss.mean()), aurc(loss, loss))
    about = {"schema": 1, "spec": member.spec, "metric": member.config.metric, "unit": "nats", "passes": passes}
    record = {**about, "networks": networks_key(fit.record for fit in member.fits)}
    numbers = {
        "cases": result.cases,
        "wrong": result.wrong,
        "mean_risk": result.mean_loss,
        "oracle_aurc": result.oracle,
    }
    files.write_json(folder / "summary.json", {**record, **numbers, "rows": [_plain(row) for row in summary]})
    return result


def uncertainty_folder(spec: str) -> Path:
    """Where a run's uncertainty is kept."""
    return files.home() / "working" / "uncertainty" / spec


def networks_key(records: Iterable[RunRecord]) -> str:
    """Hash of the networks and of their out-of-fold predictions, from the fits' ``run.json``."""
    made = [[one.seed, one.fold, one.sha256.weights, one.sha256.oof] for one in records]
    return files.sha256_json(sorted(made))


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _measure(member: Member, chosen: pd.DataFrame, passes: int) -> Iterator[dict[str, Any]]:
    import torch

    from heldout.predict.models import load_model
    from heldout.train.first_stage import with_first_stage

    prepared = with_first_stage(member.dataset, member.config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for fold, rows in chosen.groupby("fold", sort=True):
        fits = [fit for fit in member.fits if fit.fold == fold]
        paths = [fit.folder / "weights.safetensors" for fit in fits]
        classes, exclusive = member.dataset.classes, member.dataset.exclusive
        models = [load_model(member.config, path, classes, exclusive).to(device) for path in paths]
        for case_id in rows["case_id"]:
            case = (case_id, prepared.image(case_id), prepared.geometry(case_id))
            for method, samples in _samples(member, models, case, passes):
                one = _of_case(samples, exclusive)
                values = zip(MEASURES, (one.total, one.aleatoric, one.epistemic), strict=True)
                yield {"case_id": case_id, "fold": int(fold), "method": method, **{k: float(v) for k, v in values}}


def _samples(member: Member, models: Sequence[nn.Module], case: Case, passes: int) -> Iterator[tuple[str, np.ndarray]]:
    from heldout.predict.uncertainty import dropout_answers, ensemble_answers, flip_answers, has_dropout

    config: Task = member.config
    exclusive, measured = member.dataset.exclusive, 0
    if has_dropout(config, models[0]):
        measured += 1
        yield "dropout", dropout_answers(config, models[0], case, exclusive, passes)
    if member.tta:
        measured += 1
        yield "flips", flip_answers(config, models[0], case, exclusive, member.tta)
    if len(models) > 1:
        measured += 1
        yield "seeds", ensemble_answers(config, models, case, exclusive)
    if not measured:
        raise UserError(
            f"{member.name} has neither dropout nor flips nor several seeds to measure uncertainty by: name it as "
            f"{member.spec}/tta={config.flip_axes[0]}, or train a second seed"
        )


def _of_case(samples: np.ndarray, exclusive: bool) -> Uncertainty:
    segmentation = samples.ndim > 2
    maps = decompose(list(samples), exclusive=exclusive, background=segmentation)
    return region_means(maps, (samples.mean(0) >= 0.5).any(0)) if segmentation else maps


def _errors(run: HeldOut) -> pd.DataFrame:
    """case_id, loss and wrong of the stored out-of-fold predictions."""
    scores = run.case_scores
    loss = 1 - scores["dice"] if run.segments else scores["wrong"].astype(float)
    wrong = scores["dice"] < WRONG_BELOW if run.segments else scores["wrong"]
    return pd.DataFrame({"case_id": scores["case_id"], "loss": loss, "wrong": wrong})


def _summary(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "measure": measure,
            "auroc": error_auroc(rows[measure].to_numpy(), rows["wrong"].to_numpy(bool)),
            "aurc": aurc(rows[measure].to_numpy(), rows["loss"].to_numpy()),
        }
        for method, rows in table.groupby("method", sort=False)
        for measure in MEASURES
    ]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in row.items()}


def _draw(table: pd.DataFrame, summary: list[dict[str, Any]], title: str, path: Path) -> None:
    """Risk-coverage curves of every method's entropy, beside the oracle."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for method, rows in table.groupby("method", sort=False):
        area = next(row["aurc"] for row in summary if (row["method"], row["measure"]) == (method, "entropy"))
        curve = risk_coverage(rows["entropy"].to_numpy(), rows["loss"].to_numpy())
        axes.plot(*curve, lw=1.8, label=f"{METHODS[method]}: AURC {area:.3f}")
    loss = table.drop_duplicates("case_id")["loss"].to_numpy()
    axes.plot(*risk_coverage(loss, loss), lw=1.2, ls="--", color="#7a7a7a", label="oracle")
    axes.axhline(loss.mean(), lw=1.2, ls=":", color="#7a7a7a", label="random ranking")
    axes.set(xlabel="fraction of cases kept, the most certain first", ylabel="mean loss", xlim=(0, 1))
    axes.set_ylim(0, None)
    axes.set_title(f"{title}, out-of-fold", fontsize=11)
    axes.grid(alpha=0.25, lw=0.6)
    axes.legend(frameon=False, fontsize=8)
    files.write_with(path, lambda temporary: figure.savefig(temporary))
