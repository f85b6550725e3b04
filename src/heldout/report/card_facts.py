"""What a model card says, collected from run records, the configuration, the dataset's tables and the ledger."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.lineage import stands_on
from heldout.evaluate.scores import CALIBRATED_ERROR

if TYPE_CHECKING:
    from heldout.config import BaseConfig
    from heldout.evaluate.subject import Subject

NOT_RECORDED = "not on record"
_USE = (
    "Research, and comparison with other systems on the same data. Not a medical device: it has not been validated "
    "for clinical use, and its scores speak for patients like those of the dataset named above only."
)


def card_facts(name: str) -> tuple[dict[str, Any], Path]:
    """Facts of a run or blend, and the folder that its card belongs in.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    from heldout.evaluate.collect import collect
    from heldout.evaluate.subject import open_subject

    subject = open_subject(name)
    # with the looks at the test part, which only the list of all rows knows
    row = next((row for row in collect() if row.name == name and row.kind == subject.row.kind), subject.row)
    leaks = files.read_json(subject.dataset.folder / "leaks.json")
    facts = {
        "schema": 1,
        "name": name,
        "kind": row.kind,
        "title": row.title,
        "metric": row.metric,
        "task": {
            "kind": subject.decision.kind,
            "dimensions": subject.dataset.dimensions,
            "classes": list(subject.classes),
            "exclusive": bool(subject.dataset.exclusive),
        },
        "input": _input(subject),
        "output": _output(subject),
        "model": _model(subject),
        "data": _data(subject),
        "training": _training(subject),
        "metrics": _metrics(subject),
        "by_class": dict(row.by_class),
        "by_fold": {str(fold): value for fold, value in row.fold_scores.items()},
        "test": _test(row),
        "calibration": _calibration(subject),
        "limits": _limits(subject, row, leaks),
        "intended_use": _USE,
        "hashes": _hashes(subject),
    }
    return json.loads(json.dumps(facts)), subject.decision.folder  # plain values only, as YAML wants them


def _input(subject: Subject) -> dict[str, Any]:
    configs = {member.spec: member.config for member in subject.members}
    found = {}
    for spec, config in configs.items():
        normalize = config.normalize
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
    """What members have in common is said once."""
    values = list(found.values())
    return values[0] if all(value == values[0] for value in values) else found


def _output(subject: Subject) -> dict[str, Any]:
    decision = subject.decision
    what = "mask on the grid of the input file and a presence score" if subject.segments else "probability"
    cut = {name: f"{level} of 255" for name, level in decision.thresholds.items()}
    tta = {member.spec: member.tta or "none" for member in subject.members}
    return {
        "what": f"{what}, for each of {', '.join(subject.classes)}",
        "thresholds": cut or "the most probable class",
        "second_stage": "hysteresis, smallest component, filled holes" if decision.spatial else "none",
        "flips_when_predicting": tta if len(set(tta.values())) > 1 else next(iter(tta.values())),
    }


def _model(subject: Subject) -> dict[str, Any]:
    networks = {}
    for member in subject.members:
        values = member.config.model_dump(mode="json")
        described = {key: values[key] for key in ("arch", "encoder", "filters", "width") if key in values}
        described["made_from"] = stands_on(values) or "random weights, and nothing but the data"
        described["parameters"] = member.fits[0].record["parameters"]
        described["networks"] = len(member.fits)
        if stage := member.first_stage:
            described["networks_of_the_first_stage"] = len(stage.fits)
            described["parameters_of_the_first_stage"] = stage.fits[0].record["parameters"]
        networks[member.name] = described
    if not subject.decision.is_blend:
        return next(iter(networks.values()))
    return {"blend": subject.decision.composition, **networks}


def _data(subject: Subject) -> dict[str, Any]:
    dataset, config = subject.dataset, subject.members[0].config
    parts = dataset.cases["split"].value_counts()
    together = "a patient's cases, exact" + (" and near duplicates" if config.near_duplicates else " duplicates")
    return {
        "dataset": config.dataset or config.source,
        "source": config.source,
        "licence_of_the_data": _licence(dataset.source.root),
        "cases": {str(part): int(count) for part, count in parts.items()},
        "patients": int(dataset.cases["patient_id"].nunique()),
        "folds": f"{config.fold_count}, of which {list(subject.decision.folds)} are finished; {together} stay together",
        "scored_cases": len(subject.table),
        "scored_patients": int(subject.table["patient_id"].nunique()),
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


def _training(subject: Subject) -> dict[str, Any]:
    records = [fit.record for member in subject.members for fit in member.fits]
    recipes = {
        member.spec: {
            "budget": member.fits[0].record["budget"] or "full",
            "epochs": ", ".join(str(epochs) for epochs in sorted({fit.record["epochs"] for fit in member.fits})),
            "loss": getattr(member.config, "loss", "cross-entropy"),
            "optimizer": f"{member.config.optimizer}, learning rate {member.config.lr:g}, {member.config.schedule}",
            "batch": member.config.batch_size,
            "augmentation": member.config.augment,
            **_sampling(member.config),
        }
        for member in subject.members
    }
    return {
        **_once(recipes),
        "budget_changes": subject.row.scaled or ("see the members' cards" if subject.decision.is_blend else "none"),
        "seeds": sorted({record["seed"] for record in records}),
        "checkpoint": sorted({record["checkpoint"] for record in records}),
        "seconds": round(sum(record["train_seconds"] for record in records)),
        "machines": sorted({f"{record['machine']}, torch {record['torch']}" for record in records}),
    }


def _sampling(config: BaseConfig) -> dict[str, str]:
    """How training cases were drawn, where not simply as often as they come."""
    found = {}
    if config.positive_fraction is not None:
        found["positive_cases"] = f"{config.positive_fraction:g} of what was drawn"
    if config.hard_negative_fraction > 0:
        found["hard_negatives"] = f"{config.hard_negative_fraction:g} of the negatives, chosen among the training cases"
    return found


def _metrics(subject: Subject) -> dict[str, dict[str, float | None]]:
    from heldout.metrics import get_metric, interval

    found = {}
    for name in (subject.row.metric, *subject.row.also):
        if name == CALIBRATED_ERROR:  # of a table of its own, calibrated fold by fold
            found[name] = {"value": subject.row.also[name], "low": None, "high": None}
        elif not get_metric(name).optimistic:
            one = interval(name, subject.table, subject.classes)
            found[name] = {key: _finite(getattr(one, key)) for key in ("value", "low", "high")}
    return found


def _test(row: Any) -> dict[str, Any]:
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


def _calibration(subject: Subject) -> dict[str, Any]:
    from heldout.metrics import score

    stated, held = subject.decision.calibration, subject.truth_known.sum(0)
    method = stated["method"] if stated else "none"
    if not ((held > 0) & (held < len(subject.table))).any():
        return {"method": method, "of": "nothing: every case is of the same kind in every class"}
    errors = {}
    for name in ("ece", "brier", "log_loss"):
        try:
            errors[name] = _finite(score(name, subject.table, subject.classes))
        except UserError:  # undefined on these predictions
            errors[name] = None
    return {
        "method": method,
        "of": "whether a case holds the class" if subject.segments else "the class",
        **{name: None if value is None else round(value, 4) for name, value in errors.items()},
    }


def _limits(subject: Subject, row: Any, leaks: dict[str, Any]) -> list[str]:
    limits = list(leaks["caveats"])
    if row.budget:
        limits.append(f"Trained under the budget {row.budget}: {', '.join(row.scaled) or 'a scaled-down run'}.")
    if row.note:
        limits.append(f"{row.note[0].upper()}{row.note[1:]}.")
    if row.checkpoint == "best":
        limits.append("Each fold's own score chose its checkpoint, which flatters it.")
    if leaks["conflicts"]:
        limits.append(f"{len(leaks['conflicts'])} groups of equal cases carry different labels.")
    if not row.test_evals_by_name:
        limits.append("The locked test part was not looked at.")
    patients = subject.table["patient_id"].nunique()
    limits.append(f"Scores stand on {patients} patients; other hospitals, scanners and populations were not looked at.")
    return limits


def _hashes(subject: Subject) -> dict[str, Any]:
    weights = {}
    for member in subject.members:
        for fit in member.fits:
            weights[f"{member.name}, seed {fit.seed}, fold {fit.fold}"] = fit.record["sha256"]["weights"]
        for fit in member.first_stage.fits if member.first_stage else ():
            weights[f"{fit.record['spec']}, seed {fit.seed}, fold {fit.fold}"] = fit.record["sha256"]["weights"]
    return {
        "identity": subject.decision.identity,
        "data": subject.dataset.data_hash,
        "fold_table": subject.dataset.fold_hash,
        **({"seal": subject.decision.seal} if subject.decision.seal else {}),
        "weights": weights,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
