"""Predictions that a run or a blend made of cases while they were held out."""

from __future__ import annotations

from dataclasses import replace

from heldout.blend.decision import Decision
from heldout.blend.values import WHOLE


def held_out_decision(decision: Decision, fold: int) -> Decision:
    """A blend as a fold's cases are scored: with the settings tuned on the other folds; of a run the run itself."""
    settings = decision.search.get("by_fold", {}).get(str(fold))
    if settings is None:
        return decision
    weights = iter(settings["weights"])
    members = [one if one["weight"] is None else {**one, "weight": next(weights) / WHOLE} for one in decision.members]
    names, shares = decision.classes, settings["presence"]
    presence = {}
    if shares:
        named = zip(decision.presence["shares"], shares, strict=True)
        presence = {**decision.presence, "shares": {name: share / WHOLE for name, share in named}}
    return replace(
        decision,
        members=members,
        thresholds=dict(zip(names, settings["thresholds"], strict=True)) if settings["thresholds"] else {},
        spatial=dict(zip(names, settings["spatial"], strict=True)) if settings["spatial"] else {},
        presence=presence,
        calibration=settings["calibration"],
    )
