"""Model cards (Mitchell et al. 2019): what a run or a blend is, what it depends on, what it scores, and its limits.

``model_card.md`` opens with the metadata that the Hugging Face Hub reads, ``model_card.yaml`` holds the same facts for
programs. Both are collected from run records, the configuration, the dataset's tables and the ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.errors import UserError
from heldout.escape import Markdown, markdown
from heldout.evaluate.lineage import depends_on
from heldout.evaluate.scores import CALIBRATED_ERROR, score_table
from heldout.records import finite, read_json
from heldout.report.format import bounds, number, test_evals_text
from heldout.report.records import CardFacts, DataFacts, HashFacts, ScoreFacts, TaskFacts, TestFacts
from heldout.report.templates import render

if TYPE_CHECKING:
    from heldout.blend.decision import Decision
    from heldout.data.records import LeaksRecord
    from heldout.evaluate.held_out import HeldOut
    from heldout.evaluate.row import Row

NOT_RECORDED = "not on record"
_TASKS = {"classification": "image-classification", "segmentation": "image-segmentation", "regression": "other"}
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
    files.write_text(
        folder / "model_card.yaml", yaml.safe_dump(facts.to_json(), sort_keys=False, allow_unicode=True, width=100)
    )
    files.write_text(folder / "model_card.md", _render(facts))
    return folder / "model_card.md"


def _render(facts: CardFacts) -> str:
    """The card for people, from its template."""
    return render(
        "card.md",
        facts=facts,
        stored=facts.to_json(),
        front_matter=Markdown(_front_matter(facts)),
        sections=_SECTIONS,
        listed=_listed,
        number=number,
        bounds=bounds,
    )


def _front_matter(facts: CardFacts) -> str:
    """The YAML that the Hub reads: library, task, tags, data set, metrics and evaluated results."""
    from huggingface_hub import EvalResult, ModelCardData

    kind = _TASKS[facts.task.kind]
    metrics = {key: one.value for key, one in facts.metrics.items() if one.value is not None}
    tested = {key: one.value for key, one in facts.test.metrics.items() if one.value is not None}
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=facts.data.dataset,
            dataset_name=facts.data.dataset,
            dataset_split=part,
            metric_type=key,
            metric_value=round(value, 6),
            metric_name=f"{key}, {part}",
        )
        for part, found in (("out-of-fold", metrics), ("test", tested))
        for key, value in found.items()
    ]
    card = ModelCardData(
        library_name="heldout",
        pipeline_tag=kind,
        tags=["medical-imaging", "heldout", f"{facts.task.dimensions}d", facts.task.kind],
        metrics=list(metrics),
        model_name=facts.name,
        eval_results=results,
    )
    return card.to_yaml().strip()


def _listed(values: dict[str, Any]) -> Markdown:
    lines = (f"- **{markdown(fact_name(key))}**: {markdown(shown_value(value))}" for key, value in values.items())
    return Markdown("\n".join(lines))


def fact_name(key: str) -> str:
    """The name of a fact in words; that of an experiment stays as it is."""
    return key if re.match(r"exp\d", key) else key.replace("_", " ")


def shown_value(value: Any) -> str:
    """A fact in words: lists and tables on one line, and what is unknown said so."""
    if value is None or value in ("", [], {}):
        return NOT_RECORDED
    if isinstance(value, list):
        return ", ".join(shown_value(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown_value(one)}" for key, one in value.items())
    return str(value) if isinstance(value, str | int) else json.dumps(value)


def card_facts(name: str) -> tuple[CardFacts, Path]:
    """Facts of a run or blend, and the folder that its card belongs in.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    from heldout.data.records import read_leaks
    from heldout.evaluate.collect import open_row

    held = open_row(name)
    row, scores = held.row, score_table(held.metric, held.kind, held.table, held.classes)
    leaks = read_leaks(held.dataset.folder)
    tuned = None if row.at_half is None else ScoreFacts(value=row.score, low=row.low, high=row.high)
    facts = CardFacts(
        name=name,
        kind=row.kind,
        title=row.title,
        metric=row.metric,
        task=TaskFacts(
            kind=held.decision.kind,
            dimensions=held.dataset.dimensions,
            classes=held.classes,
            exclusive=bool(held.dataset.exclusive),
        ),
        input=_input(held),
        output=_output(held),
        model=_model(held),
        data=_data(held),
        training=_training(held),
        metrics=_metrics(held),
        by_class=scores.by_class,
        by_fold={str(fold): value for fold, value in scores.fold_scores},
        at_tuned_thresholds=tuned,
        test=_test(row),
        calibration=_calibration(held),
        limits=_limits(held, row, leaks),
        intended_use=_USE,
        hashes=_hashes(held),
    )
    return facts, held.decision.folder


def _input(held: HeldOut) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for member in held.shipped:
        config = member.config
        windows: list[Any] = [list(one) for one in config.windows] or list(config.window)
        values = {"percentile": f" {list(config.percentiles)}", "window": f" {windows}"}.get(config.normalize, "")
        found[member.spec] = {
            "channels": config.channels,
            "spacing": "as in the file" if config.spacing is None else f"{list(config.spacing)} mm",
            "size": "as in the file" if config.image_size is None else f"{list(config.image_size)}, {config.resize}",
            "patch": "the whole prepared case" if config.patch_size is None else str(list(config.patch_size)),
            "normalization": f"{config.normalize}{values}",
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
    what = "number" if held.kind == "regression" else what
    cut = {name: f"{level} of 255" for name, level in decision.thresholds.items()}
    tta = {member.spec: member.tta or "none" for member in held.shipped}
    by = {"together": f"cases of a {decision.postprocess.by}"} if decision.postprocess.by else {}
    return {
        "what": f"{what}, for each of {', '.join(held.classes)}",
        "thresholds": cut or ("none" if held.kind == "regression" else "the most probable class"),
        "components": "hysteresis, smallest component, filled holes" if decision.spatial else "all",
        **({"post_processing": _words({**decision.postprocess.settings, **by})} if decision.postprocess else {}),
        "flips_when_predicting": tta if len(set(tta.values())) > 1 else next(iter(tta.values())),
        **_abstains(decision),
    }


def _words(settings: Mapping[str, Any]) -> str:
    """Settings of the experiment's own last step."""
    return ", ".join(f"{name} = {value}" for name, value in settings.items()) or "the experiment's own"


def _abstains(decision: Decision) -> dict[str, str]:
    """When the decision leaves a case to people, and what that is worth out of fold."""
    one = decision.abstention
    if not one:
        return {}
    risk = "risk unknown" if one.selective_risk is None else f"risk {one.selective_risk:.4f}"
    return {
        "abstains": f"above an entropy of {one.cut:.3f} nats, tuned for a risk of {one.risk:g}; cross-fitted, "
        f"{one.coverage:.1%} of the cases are answered with {risk}, all cases have {one.full_risk:.4f}"
    }


def _model(held: HeldOut) -> dict[str, Any]:
    from heldout.blend.mixing import in_words

    networks: dict[str, dict[str, Any]] = {}
    for member in held.shipped:
        values, stage = member.config.model_dump(mode="json"), member.first_stage
        of_stage: dict[str, Any] = {}
        if stage:
            of_stage = {"networks": len(stage.fits), "parameters": stage.fits[0].record.parameters}
        networks[member.name] = {
            **{key: values[key] for key in ("arch", "encoder", "filters", "width") if key in values},
            "made_from": depends_on(member.config) or "random weights",
            "parameters": member.fits[0].record.parameters,
            "networks": len(member.fits),
            **{f"{key}_of_the_first_stage": value for key, value in of_stage.items()},
        }
    if not held.decision.is_blend:
        return next(iter(networks.values()))
    names = [member.name for member in held.decision.members]
    weights = in_words(held.decision.mixing, held.classes, names).items()
    return {"blend": held.decision.composition, **{f"weights for {label}": text for label, text in weights}, **networks}


def _data(held: HeldOut) -> DataFacts:
    dataset, config = held.dataset, held.members[0].config
    parts = dataset.cases["split"].value_counts()
    together = "a patient's cases, exact" + (" and near duplicates" if config.near_duplicates else " duplicates")
    return DataFacts(
        dataset=config.dataset or config.source,
        source=config.source,
        license_of_the_data=_license(dataset.source.root),
        cases={str(part): int(count) for part, count in parts.items()},
        patients=int(dataset.cases["patient_id"].nunique()),
        folds=f"{config.fold_count}, of which {list(held.decision.folds)} are finished; {together} stay together",
        scored_cases=len(held.table),
        scored_patients=int(held.table["patient_id"].nunique()),
    )


def _license(root: Path) -> str:
    """The license that a dataset's own description states; Decathlon datasets do."""
    path = Path(root) / "dataset.json"
    if not path.is_file():
        return NOT_RECORDED
    try:
        stated = read_json(path).get("licence") or NOT_RECORDED
    except (UserError, AttributeError):
        return NOT_RECORDED
    return str(stated)


def _training(held: HeldOut) -> dict[str, Any]:
    records = [fit.record for member in held.shipped for fit in member.fits]
    by_member: dict[str, dict[str, Any]] = {}
    for member in held.shipped:
        config, mine = member.config, [fit.record for fit in member.fits]
        by_member[member.spec] = {
            "budget": mine[0].budget or "full",
            "epochs": ", ".join(str(epochs) for epochs in sorted({record.epochs for record in mine})),
            "loss": getattr(config, "loss", "cross-entropy"),
            "optimizer": f"{config.optimizer}, learning rate {config.lr:g}, {config.schedule}",
            "batch": config.batch_size,
            "augmentation": config.augment,
        }
        if config.positive_fraction is not None:
            by_member[member.spec]["positive_cases"] = f"{config.positive_fraction:g} of the sampled cases"
        if config.hard_negative_fraction > 0:
            share = f"{config.hard_negative_fraction:g} of the negatives, mined among the training cases"
            by_member[member.spec]["hard_negatives"] = share
    return {
        **_once(by_member),
        "budget_changes": held.row.scaled or ("see the members' cards" if held.decision.is_blend else "none"),
        "seeds": sorted({record.seed for record in records}),
        "checkpoint": sorted({record.checkpoint for record in records}),
        "seconds": round(sum(record.train_seconds for record in records)),
        "machines": sorted({f"{record.machine}, torch {record.torch}" for record in records}),
    }


def _metrics(held: HeldOut) -> dict[str, ScoreFacts]:
    from heldout.metrics import get_metric, interval

    found = {}
    for name in (held.row.metric, *held.row.also):
        if name == CALIBRATED_ERROR:  # of a table of its own, calibrated fold by fold
            low, high = held.row.also_bounds[name]
            found[name] = ScoreFacts(value=held.row.also[name], low=low, high=high)
        elif not get_metric(name).optimistic:
            one = interval(name, held.table, held.classes)
            found[name] = ScoreFacts(value=finite(one.value), low=finite(one.low), high=finite(one.high))
    return found


def _test(row: Row) -> TestFacts:
    metrics = {}
    if not row.test_evals_by_name:
        said = "never evaluated with this decision; test evaluations on this dataset in all: "
        said += f"{row.dataset_test_evals}."
    elif row.test_score is None:
        said = f"{test_evals_text(row)}; none is of the current decision."
    else:
        metrics[row.metric] = ScoreFacts(value=row.test_score, low=row.test_low, high=row.test_high)
        interval = f" {bounds(row.test_low, row.test_high)}".rstrip()
        said = f"{row.metric} {number(row.test_score)}{interval}; {test_evals_text(row)}."
    return TestFacts(
        evaluations=row.test_evals,
        evaluations_on_the_dataset=row.dataset_test_evals,
        metrics=metrics,
        said=said,
    )


def _calibration(held: HeldOut) -> dict[str, Any]:
    from heldout.metrics import score

    method, positives = held.decision.calibration.method, held.truth.sum(0)
    if held.kind == "regression":
        return {"method": method, "of": "the numbers; errors are among the scores"}
    if not ((positives > 0) & (positives < len(held.table))).any():
        return {"method": method, "of": "nothing: every case has the same label in every class"}
    errors: dict[str, float | None] = {}
    for name in ("ece", "brier", "log_loss"):
        try:
            value = finite(score(name, held.table, held.classes))
            errors[name] = None if value is None else round(value, 4)
        except UserError:  # undefined on these predictions
            errors[name] = None
    return {"method": method, "of": "whether a case holds the class" if held.segments else "the class", **errors}


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


def _hashes(held: HeldOut) -> HashFacts:
    records = []
    for member in held.shipped:
        stage = member.first_stage.fits if member.first_stage else ()
        records += [(member.name, fit.record) for fit in member.fits]
        records += [(fit.record.spec, fit.record) for fit in stage]
    weights = {f"{name}, seed {one.seed}, fold {one.fold}": one.sha256.weights for name, one in records}
    return HashFacts(
        identity=held.decision.identity,
        data=held.dataset.data_hash,
        fold_table=held.dataset.fold_hash,
        seal=held.decision.seal,
        weights=weights,
    )
