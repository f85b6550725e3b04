"""Model cards (Mitchell et al. 2019): what a run or a blend is, on what it stands, what it is worth, and its limits.

``model_card.md`` opens with the metadata that the Hugging Face Hub reads, ``model_card.yaml`` holds the same facts for
programs. Both say what is on record and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heldout import files
from heldout.report.card_facts import NOT_RECORDED, card_facts

_TASKS = {"classification": "image-classification", "segmentation": "image-segmentation"}


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
    files.write_text(folder / "model_card.md", f"---\n{_front_matter(facts)}\n---\n\n{_text(facts)}")
    return folder / "model_card.md"


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


def _text(facts: dict[str, Any]) -> str:
    """The card for people."""
    lines = [f"# {facts['name']}", "", facts["title"], ""]
    titles = {
        "task": "Task",
        "input": "Input",
        "output": "Output",
        "model": "Architecture",
        "data": "Data and folds",
        "training": "Training",
    }
    for key, title in titles.items():
        lines += [f"## {title}", "", *_listed(facts[key]), ""]
    lines += ["## Metrics", "", *_metrics(facts), ""]
    lines += ["## Calibration", "", *_listed(facts["calibration"]), ""]
    lines += ["## Limits", "", *(f"- {text}" for text in facts["limits"]), ""]
    lines += ["## Intended use", "", facts["intended_use"], ""]
    lines += ["## Hashes", "", *_hashes(facts["hashes"]), ""]
    return "\n".join(lines)


def _metrics(facts: dict[str, Any]) -> list[str]:
    lines = [
        f"Out-of-fold, on {facts['data']['scored_cases']} cases of {facts['data']['scored_patients']} patients of the "
        "train part: every case was predicted by networks that never saw its patient. Intervals are 95 % bootstrap "
        "intervals over patients.",
        "",
        "| metric | value | 95 % interval |",
        "|---|---|---|",
    ]
    for name, one in facts["metrics"].items():
        lines.append(f"| {name} | {_number(one['value'])} | {_interval(one)} |")
    if facts["by_class"]:
        lines += ["", "| class | " + facts["metric"] + " |", "|---|---|"]
        lines += [f"| {name} | {_number(value)} |" for name, value in facts["by_class"].items()]
    lines += ["", "| fold | " + facts["metric"] + " |", "|---|---|"]
    lines += [f"| {fold} | {_number(value)} |" for fold, value in facts["by_fold"].items()]
    lines += ["", f"Locked test part: {facts['test']['said']}"]
    return lines


def _listed(values: dict[str, Any]) -> list[str]:
    return [f"- **{key.replace('_', ' ')}**: {_shown(value)}" for key, value in values.items()]


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return NOT_RECORDED
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return str(value) if isinstance(value, str | int) else json.dumps(value)


def _hashes(hashes: dict[str, Any]) -> list[str]:
    lines = [f"- {key.replace('_', ' ')}: `{value}`" for key, value in hashes.items() if isinstance(value, str)]
    return [*lines, *(f"- weights of {name}: `{value}`" for name, value in hashes["weights"].items())]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(one: dict[str, Any]) -> str:
    return "-" if one["low"] is None else f"[{one['low']:.3f}, {one['high']:.3f}]"
