"""From experiments to a decision: tuned on out-of-fold predictions only, scored in-sample and cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from heldout import files
from heldout.blend.cases import build_objective
from heldout.blend.crossfit import CrossFit, crossfit
from heldout.blend.decision import Decision, blend_folder, check_name, decision_of, read_decision, save_decision
from heldout.blend.members import check_together, load_member
from heldout.blend.objective import check_metric
from heldout.errors import UserError


def blend(
    specs: Sequence[str],
    name: str,
    *,
    trials: int = 200,
    seed: int = 0,
    metric: str | None = None,
    progress: bool = True,
) -> Decision:
    """Tune the weights of members and the thresholds of their blend.

    Args:
        specs: Finished experiments.
        name: Name of the blend. An earlier blend of that name is replaced unless it was frozen.
        trials: Weightings to try, for use and again for each fold that is scored.
        seed: Seed of the search.
        metric: Score to tune; None is the first member's.
        progress: Show a progress bar where maps are read.

    Returns:
        The decision, written with its tables to ``working/blends/<name>/``: ``oof.parquet``, cross-fitted (absent
        with one finished fold, where nothing can be), and ``in_sample.parquet``.

    Raises:
        UserError: the members do not belong together, a file changed, the score is undefined, or a frozen blend has
            this name.
    """
    check_name(name)
    _refuse_sealed(name)
    members = [load_member(spec) for spec in specs]
    check_together(members)
    metric = metric or members[0].config.metric
    check_metric(metric, members[0].kind)
    objective = build_objective(members, metric, progress=progress)
    found = crossfit(objective, trials=trials, seed=seed)
    classes = objective.classes
    thresholds = dict(zip(classes, found.settings.thresholds, strict=True)) if found.settings.thresholds else {}
    decision = decision_of(members, found.settings.weights, thresholds, name=name, metric=metric)
    sampler = "TPESampler" if len(members) > 1 else "none"
    by_fold = {str(fold): asdict(settings) for fold, settings in found.by_fold.items()}
    search = {"trials": trials, "seed": seed, "sampler": sampler, "by_fold": by_fold}
    with files.lock(blend_folder(name), "blending"):
        _refuse_sealed(name)
        return _write(replace(decision, score=found.scores, search=search), found)


def _write(decision: Decision, found: CrossFit) -> Decision:
    tables = {"in_sample": found.in_sample, "oof": found.cross_fitted}
    hashes = {}
    for name, table in tables.items():
        path = decision.folder / f"{name}.parquet"
        if table is None:
            path.unlink(missing_ok=True)
        else:
            _write_table(path, table)
            hashes[name] = files.sha256_file(path)
    decision = replace(decision, tables=hashes)
    save_decision(decision)
    return read_decision(decision.name)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    files.write_with(path, lambda temporary: table.to_parquet(temporary, index=False))


def _refuse_sealed(name: str) -> None:
    if (blend_folder(name) / "decision.json").exists() and read_decision(name).seal is not None:
        raise UserError(f"blend {name} is frozen and stays as it is: choose another --name")
