"""Model cards (Mitchell et al. 2019): what a run or a blend is, on what it stands, what it scores, and its limits.

``model_card.md`` opens with the metadata that the Hugging Face Hub reads, ``model_card.yaml`` holds the same facts for
programs. Both are collected from run records, the configuration, the dataset's tables and the ledger.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.lineage import stands_on
from heldout.evaluate.scores import CALIBRATED_ERROR, score_table
from heldout.report.templates import Markdown, markdown, render

if TYPE_CHECKING:
    from heldout.config import BaseConfig
    from heldout.data.records import LeaksRecord
    from heldout.evaluate.held_out import HeldOut
    from heldout.evaluate.row import Row

NOT_RECORDED = "not on record"
_TASKS = {"classification": "image-classification", "segmentation": "image-segmentation"}
_SECTIONS = {
    "task": "Task",
    "input": "Input",
    "output": "Output",
    "model": "Architecture",
    "data": "Data and folds",
    "training": "Training",
}
_USE = (
    "Research, and comparison with other systems on the same data. Not a medical device: it has not been validated "
    "for clinical use, and its scores apply to patients like those of the dataset named above only."
)


def write_card(name: str) -> Path:
    """Write the card of a run or a blend into its folder.

    Returns:
        ``model_card.md``; ``model_card.yaml`` lies beside it.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    import yaml

    facts, folder = card_facts(name)
    files.write_text(folder / "model_card.yaml", yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=100))
    files.write_text(folder / "model_card.md", _render(facts))
    return folder / "model_card.md"


def _render(facts: dict[str, Any]) -> str:
    """The card for people, from its template."""
    return render(
        "card.md",
        facts=facts,
        front_matter=Markdown(_front_matter(facts)),
        sections=_SECTIONS,
        listed=_listed,
        number=_number,
        interval=_interval,
        spaced=_spaced,
    )


def _front_matter(facts: dict[str, Any]) -> str:
    """The YAML that the Hub reads: library, task, tags, data set, metrics and evaluated results."""
    from huggingface_hub import EvalResult, ModelCardData

    task, data = facts["task"], facts["data"]
    kind = _TASKS[task["kind"]]
    metrics = {key: one for key, one in facts["metrics"].items() if one["value"] is not None}
    parts = {"out-of-fold": metrics, "test": facts["test"]["metrics"]}
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=data["dataset"],
            dataset_name=data["dataset"],
            dataset_split=part,
            metric_type=key,
            metric_value=round(one["value"], 6),
            metric_name=f"{key}, {part}",
        )
        for part, found in parts.items()
        for key, one in found.items()
    ]
    card = ModelCardData(
        library_name="heldout",
        pipeline_tag=kind,
        tags=["medical-imaging", "heldout", f"{task['dimensions']}d", task["kind"]],
        metrics=list(metrics),
        model_name=facts["name"],
        eval_results=results,
    )
    return card.to_yaml().strip()


def _listed(values: dict[str, Any]) -> Markdown:
    return Markdown("\n".join(f"- **{_spaced(key)}**: {markdown(_shown(value))}" for key, value in values.items()))


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return NOT_RECORDED
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return str(value) if isinstance(value, str | int) else json.dumps(value)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(one: dict[str, Any]) -> str:
    return "-" if one["low"] is None else f"[{one['low']:.3f}, {one['high']:.3f}]"


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def card_facts(name: str) -> tuple[dict[str, Any], Path]:
    """Facts of a run or blend, and the folder that its card belongs in.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    from heldout.data.records import read_leaks
    from heldout.evaluate.collect import open_row

    held = open_row(name)
    row, scores = held.row, score_table(held.metric, held.kind, held.table, held.classes)
    leaks = read_leaks(held.dataset.folder)
    facts = {
        "schema": 1,
        "name": name,
        "kind": row.kind,
        "title": row.title,
        "metric": row.metric,
        "task": {
            "kind": held.decision.kind,
            "dimensions": held.dataset.dimensions,
            "classes": list(held.classes),
            "exclusive": bool(held.dataset.exclusive),
        },
        "input": _input(held),
        "output": _output(held),
        "model": _model(held),
        "data": _data(held),
        "training": _training(held),
        "metrics": _metrics(held),
        "by_class": scores.by_class,
        "by_fold": {str(fold): value for fold, value in scores.fold_scores},
        **({"at_tuned_thresholds": _interval_of(row)} if row.at_half is not None else {}),
        "test": _test(row),
        "calibration": _calibration(held),
        "limits": _limits(held, row, leaks),
        "intended_use": _USE,
        "hashes": _hashes(held),
    }
    return json.loads(json.dumps(facts)), held.decision.folder  # plain values only, as YAML wants them


def _input(held: HeldOut) -> dict[str, Any]:
    configs = {member.spec: member.config for member in held.members}
    found = {}
    for spec, config in configs.items():
        normalize: str = config.normalize
        normalize += f" {list(config.percentiles)}" if normalize == "percentile" else ""
        normalize += f" {[list(one) for one in config.windows] or list(config.window)}" if normalize == "window" else ""
        found[spec] = {
            "channels": config.channels,
            "spacing": "as in the file" if config.spacing is None else f"{list(config.spacing)} mm",
            "size": "as in the file" if config.image_size is None else f"{list(config.image_size)}, {config.resize}",
            "patch": "the whole prepared case" if config.patch_size is None else str(list(config.patch_size)),
            "normalisation": normalize,
            "crop": config.crop,
        }
    return _once(found)


def _once(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What members have in common, once."""
    values = list(found.values())
    return values[0] if all(value == values[0] for value in values) else found


def _output(held: HeldOut) -> dict[str, Any]:
    decision = held.decision
    what = "mask on the grid of the input file and a presence score" if held.segments else "probability"
    cut = {name: f"{level} of 255" for name, level in decision.thresholds.items()}
    tta = {member.spec: member.tta or "none" for member in held.members}
    return {
        "what": f"{what}, for each of {', '.join(held.classes)}",
        "thresholds": cut or "the most probable class",
        "second_stage": "hysteresis, smallest component, filled holes" if decision.spatial else "none",
        "flips_when_predicting": tta if len(set(tta.values())) > 1 else next(iter(tta.values())),
    }


def _model(held: HeldOut) -> dict[str, Any]:
    networks = {}
    for member in held.members:
        values = member.config.model_dump(mode="json")
        described: dict[str, Any] = {
            key: values[key] for key in ("arch", "encoder", "filters", "width") if key in values
        }
        described["made_from"] = stands_on(member.config) or "random weights, and nothing but the data"
        described["parameters"] = member.fits[0].record.parameters
        described["networks"] = len(member.fits)
        if stage := member.first_stage:
            described["networks_of_the_first_stage"] = len(stage.fits)
            described["parameters_of_the_first_stage"] = stage.fits[0].record.parameters
        networks[member.name] = described
    if not held.decision.is_blend:
        return next(iter(networks.values()))
    return {"blend": held.decision.composition, **networks}


def _data(held: HeldOut) -> dict[str, Any]:
    dataset, config = held.dataset, held.members[0].config
    parts = dataset.cases["split"].value_counts()
    together = "a patient's cases, exact" + (" and near duplicates" if config.near_duplicates else " duplicates")
    return {
        "dataset": config.dataset or config.source,
        "source": config.source,
        "licence_of_the_data": _licence(dataset.source.root),
        "cases": {str(part): int(count) for part, count in parts.items()},
        "patients": int(dataset.cases["patient_id"].nunique()),
        "folds": f"{config.fold_count}, of which {list(held.decision.folds)} are finished; {together} stay together",
        "scored_cases": len(held.table),
        "scored_patients": int(held.table["patient_id"].nunique()),
    }


def _licence(root: Path) -> str:
    """The licence that a dataset's own description states; Decathlon datasets do."""
    path = Path(root) / "dataset.json"
    if not path.is_file():
        return NOT_RECORDED
    try:
        stated = files.read_json(path).get("licence") or NOT_RECORDED
    except (UserError, AttributeError):
        return NOT_RECORDED
    return str(stated)


def _training(held: HeldOut) -> dict[str, Any]:
    records = [fit.record for member in held.members for fit in member.fits]
    recipes = {
        member.spec: {
            "budget": member.fits[0].record.budget or "full",
            "epochs": ", ".join(str(epochs) for epochs in sorted({fit.record.epochs for fit in member.fits})),
            "loss": getattr(member.config, "loss", "cross-entropy"),
            "optimizer": f"{member.config.optimizer}, learning rate {member.config.lr:g}, {member.config.schedule}",
            "batch": member.config.batch_size,
            "augmentation": member.config.augment,
            **_sampling(member.config),
        }
        for member in held.members
    }
    return {
        **_once(recipes),
        "budget_changes": held.row.scaled or ("see the members' cards" if held.decision.is_blend else "none"),
        "seeds": sorted({record.seed for record in records}),
        "checkpoint": sorted({record.checkpoint for record in records}),
        "seconds": round(sum(record.train_seconds for record in records)),
        "machines": sorted({f"{record.machine}, torch {record.torch}" for record in records}),
    }


def _sampling(config: BaseConfig) -> dict[str, str]:
    """How training cases were sampled, where not uniformly."""
    found = {}
    if config.positive_fraction is not None:
        found["positive_cases"] = f"{config.positive_fraction:g} of what was drawn"
    if config.hard_negative_fraction > 0:
        found["hard_negatives"] = f"{config.hard_negative_fraction:g} of the negatives, chosen among the training cases"
    return found


def _metrics(held: HeldOut) -> dict[str, dict[str, float | None]]:
    from heldout.metrics import get_metric, interval

    found = {}
    for name in (held.row.metric, *held.row.also):
        if name == CALIBRATED_ERROR:  # of a table of its own, calibrated fold by fold
            found[name] = {"value": held.row.also[name], "low": None, "high": None}
        elif not get_metric(name).optimistic:
            one = interval(name, held.table, held.classes)
            found[name] = {key: _finite(getattr(one, key)) for key in ("value", "low", "high")}
    return found


def _interval_of(row: Row) -> dict[str, float | None]:
    return {"value": row.score, "low": row.low, "high": row.high}


def _test(row: Row) -> dict[str, Any]:
    if not row.test_evals_by_name:
        said = f"never evaluated with this decision; test evaluations on this dataset in all: {row.dataset_test_evals}."
        return {"looks": 0, "looks_at_the_dataset": row.dataset_test_evals, "metrics": {}, "said": said}
    looks = (
        f"{row.test_evals} look{'' if row.test_evals == 1 else 's'} with this decision, {row.dataset_test_evals} in all"
    )
    if row.test_score is None:
        said = f"{looks}; none of them is of the decision as it stands now."
        return {"looks": row.test_evals, "looks_at_the_dataset": row.dataset_test_evals, "metrics": {}, "said": said}
    score = {"value": row.test_score, "low": row.test_low, "high": row.test_high}
    bounds = "" if row.test_low is None else f" [{row.test_low:.3f}, {row.test_high:.3f}]"
    return {
        "looks": row.test_evals,
        "looks_at_the_dataset": row.dataset_test_evals,
        "metrics": {row.metric: score},
        "said": f"{row.metric} {row.test_score:.4f}{bounds}; {looks}.",
    }


def _calibration(held: HeldOut) -> dict[str, Any]:
    from heldout.metrics import score

    method, positives = held.decision.calibration.method, held.truth.sum(0)
    if not ((positives > 0) & (positives < len(held.table))).any():
        return {"method": method, "of": "nothing: every case is of the same kind in every class"}
    errors = {}
    for name in ("ece", "brier", "log_loss"):
        try:
            errors[name] = _finite(score(name, held.table, held.classes))
        except UserError:  # undefined on these predictions
            errors[name] = None
    return {
        "method": method,
        "of": "whether a case holds the class" if held.segments else "the class",
        **{name: None if value is None else round(value, 4) for name, value in errors.items()},
    }


def _limits(held: HeldOut, row: Row, leaks: LeaksRecord) -> list[str]:
    limits = list(leaks.caveats)
    if row.budget:
        limits.append(f"Trained under the budget {row.budget}: {', '.join(row.scaled) or 'a scaled-down run'}.")
    if row.note:
        limits.append(f"{row.note[0].upper()}{row.note[1:]}.")
    if row.checkpoint == "best":
        limits.append("Each fold's own score chose its checkpoint, so the scores are optimistically biased.")
    if leaks.conflicts:
        limits.append(f"{len(leaks.conflicts)} groups of equal cases carry different labels.")
    if not row.test_evals_by_name:
        limits.append("The locked test part was not evaluated.")
    patients = held.table["patient_id"].nunique()
    limits.append(f"Scores are of {patients} patients; other hospitals, scanners and populations were not evaluated.")
    return limits


def _hashes(held: HeldOut) -> dict[str, Any]:
    weights = {}
    for member in held.members:
        for fit in member.fits:
            weights[f"{member.name}, seed {fit.seed}, fold {fit.fold}"] = fit.record.sha256.weights
        for stage in member.first_stage.fits if member.first_stage else ():
            weights[f"{stage.record.spec}, seed {stage.seed}, fold {stage.fold}"] = stage.record.sha256.weights
    return {
        "identity": held.decision.identity,
        "data": held.dataset.data_hash,
        "fold_table": held.dataset.fold_hash,
        **({"seal": held.decision.seal} if held.decision.seal else {}),
        "weights": weights,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
