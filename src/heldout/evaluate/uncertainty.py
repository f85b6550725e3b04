"""Whether a run's uncertainty finds its errors, on the cases that each network held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from heldout import files
from heldout.blend.members import Member
from heldout.errors import UserError
from heldout.escape import spreadsheet
from heldout.evaluate.cases import evenly
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.metrics.uncertainty import Uncertainty, aurc, decompose, error_auroc, region_means
from heldout.records import Record
from heldout.train.record import RunRecord

if TYPE_CHECKING:
    from torch import nn

    from heldout.predict.run import Case
    from heldout.tasks import Task

METHODS = {"dropout": "dropout left on", "flips": "flips at test time", "seeds": "networks of several seeds"}
MEASURES = ("entropy", "aleatoric", "epistemic")
ALL, WITH, WITHOUT = "all cases", "with a class", "without"
WRONG_BELOW = 0.5  # Dice of a mask that counts as wrong


class MeasureRow(Record):
    """How well one measure of one method finds errors.

    Attributes:
        method: One of :data:`METHODS`.
        measure: One of :data:`MEASURES`.
        stratum: :data:`ALL` cases, or those that hold a class, or those that hold none.
        cases, wrong: Cases of the stratum, and of those predicted wrongly.
        auroc: AUROC of finding the wrong cases; of several labels a case, the chance that of two cases the one with
            more wrong labels is less certain. None where it is undefined.
        aurc: Area under the risk-coverage curve.
    """

    optional = frozenset({"stratum", "cases", "wrong"})

    method: str
    measure: str
    stratum: str = "all cases"
    cases: int = 0
    wrong: int = 0
    auroc: float | None
    aurc: float


class UncertaintyRecord(Record):
    """``summary.json``: what :func:`assess` found.

    Attributes:
        spec: The run.
        metric: Its score.
        unit: Of entropies.
        passes: Passes with dropout.
        networks: Hash of the networks, see :func:`networks_key`.
        cases, wrong: Number of cases, and of those predicted wrongly.
        mean_risk: Mean loss, which is the AURC of a random ranking.
        oracle_aurc: AURC of an oracle.
        rows: Per method and measure.
    """

    schema_version: int = Field(default=1, alias="schema")
    spec: str
    metric: str
    unit: str = "nats"
    passes: int
    networks: str
    cases: int
    wrong: int
    mean_risk: float
    oracle_aurc: float
    rows: list[MeasureRow]


@dataclass(frozen=True)
class Assessment:
    """What :func:`assess` found and wrote: its folder, the record, and a row per case and method."""

    folder: Path
    record: UncertaintyRecord
    table: pd.DataFrame


def assess(name: str, passes: int = 20, limit: int | None = None) -> Assessment:
    """Measure the uncertainty of out-of-fold networks on the cases they held out.

    Dropout and flips are measured on the first seed's network of each fold, ``seeds`` on all its networks. The
    predictions whose errors are to be found are the stored ones. The loss of a classification is the
    share of its labels that are predicted wrongly at one half (of exclusive classes, 1 where the most probable one is
    wrong); that of a segmentation is 1 - Dice over all classes together, and it is wrong where Dice is below 0.5. The
    Dice of an empty mask is 1 where nothing is labeled. Cases with and without a class are told apart too: empty
    cases err in another way, and together they show how well uncertainty tells these two kinds apart.

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
    chosen = member.cases if limit is None else member.cases.iloc[evenly(len(member.cases), limit)]
    rows = list(_measure(member, chosen, passes))
    table = pd.DataFrame(rows).merge(_errors(run), on="case_id", validate="m:1")
    once = table.drop_duplicates("case_id")
    loss = once["loss"].to_numpy()
    record = UncertaintyRecord(
        spec=member.spec,
        metric=member.config.metric,
        passes=passes,
        networks=networks_key(fit.record for fit in member.fits),
        cases=len(once),
        wrong=int(once["wrong"].sum()),
        mean_risk=float(loss.mean()),
        oracle_aurc=aurc(loss, loss),
        rows=_summary(table),
    )
    folder = uncertainty_folder(member.spec)
    shown = table.assign(case_id=table["case_id"].map(spreadsheet))
    files.write_text(folder / "cases.csv", shown.to_csv(index=False, float_format="%.6g"))
    files.write_json(folder / "summary.json", record.to_json())
    return Assessment(folder, record, table)


def uncertainty_folder(spec: str) -> Path:
    """Where a run's uncertainty is kept."""
    return files.home() / "working" / "uncertainty" / spec


def networks_key(records: Iterable[RunRecord]) -> str:
    """Hash of the networks and of their out-of-fold predictions, from the fits' ``run.json``."""
    made = [[one.seed, one.fold, one.sha256.weights, one.sha256.oof] for one in records]
    return files.sha256_json(sorted(made))


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
    if not segmentation:
        return maps
    mean = samples.mean(0)
    whole = exclusive and len(mean) > 1
    return region_means(maps, mean.max(0) > 1 - mean.sum(0) if whole else (mean >= 0.5).any(0))


def _errors(run: HeldOut) -> pd.DataFrame:
    """case_id, loss, wrong, what counts as the error, and stratum of the stored out-of-fold predictions."""
    scores = run.case_scores
    if run.segments:
        loss, wrong = 1 - scores["dice"], scores["dice"] < WRONG_BELOW
        holds, error = scores["n_true"] > 0, wrong
    else:
        mistakes = (run.columns.truth != run.columns.predicted) & run.known
        exclusive = run.columns.exclusive
        loss = scores["wrong"].astype(float) if exclusive else pd.Series(mistakes.mean(1), scores.index)
        wrong, holds, error = scores["wrong"], scores["labeled"], loss
    stratum = np.where(holds, WITH, WITHOUT)
    values = {"loss": loss, "wrong": wrong, "error": error, "stratum": stratum}
    return pd.DataFrame({"case_id": scores["case_id"], **values})


def _summary(table: pd.DataFrame) -> list[MeasureRow]:
    found = []
    for method, whole in table.groupby("method", sort=False):
        strata = {ALL: whole, **{str(name): rows for name, rows in whole.groupby("stratum")}}
        for stratum, rows in strata.items() if len(strata) > 2 else [(ALL, whole)]:
            for measure in MEASURES:
                auroc = error_auroc(rows[measure].to_numpy(), rows["error"].to_numpy())
                found.append(
                    MeasureRow(
                        method=str(method),
                        measure=measure,
                        stratum=stratum,
                        cases=len(rows),
                        wrong=int(rows["wrong"].sum()),
                        auroc=None if np.isnan(auroc) else auroc,
                        aurc=aurc(rows[measure].to_numpy(), rows["loss"].to_numpy()),
                    )
                )
    return found
