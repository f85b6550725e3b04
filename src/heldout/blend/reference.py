"""Reference predictions: a few out-of-fold predictions that must be reproduced before a decision is used.

Weights and data are compared by hash. Whether the code still does the same with them shows only when it is run.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import files
from heldout.blend.apply import Blended, as_scored, blend_case, case_values, predict_case, run_lengths
from heldout.blend.decision import Decision
from heldout.blend.members import Member, OpenFit, load_member, stored_prediction
from heldout.blend.records import Reference, ReferenceCase
from heldout.blend.session import Session
from heldout.blend.together import cases_of, held_out_results
from heldout.data.first_stage import first_stage_map
from heldout.errors import UserError
from heldout.metrics.ignored import hide
from heldout.metrics.overlap import count_errors
from heldout.metrics.tables import rows_to_text
from heldout.predict.details import detections_text, true_objects
from heldout.predict.precision import FLOAT32, TOLERANCES, Tolerance
from heldout.predict.prediction import Prediction
from heldout.predict.store import read_table
from heldout.progress import track
from heldout.train.runs import fit_folder

if TYPE_CHECKING:
    from heldout.data.sources import Source
    from heldout.tasks import Task

CASES = 2  # per member
EXACT = TOLERANCES[FLOAT32]
_NEAR = 2e-3  # of places in mm or pixels, which processors compute alike to far more digits


def store_reference(decision: Decision, session: Session) -> Reference:
    """Predict a few held-out cases again, compare with what training stored, and write them to ``kept.npz``.

    Raises:
        UserError: today's code predicts otherwise than training did, or blends otherwise than blending did.
    """
    cases: list[ReferenceCase] = []
    arrays: dict[str, Any] = {}
    reference: dict[str, list[Prediction]] = {}
    members = [load_member(described.name, session) for described in decision.members]
    pairs = zip(members, decision.members, strict=True)
    for member, described in track(pairs, len(members), "Reproducing reference cases"):
        # the same fold of every member, whichever seeds it has there, so that a case can be blended
        first = next(one for one in described.folders if one.fold == decision.folds[0])
        fit = next(fit for fit in member.fits if (fit.seed, fit.fold) == (first.seed, first.fold))
        for case_id in choose_cases(member, fit):
            stored = stored_prediction(member, fit, case_id)
            fresh, tolerance = predict_again(member, fit, case_id), TOLERANCES[member.precision]
            if difference := compare(stored, fresh, two_heads=member.two_heads, tolerance=tolerance):
                raise UserError(
                    f"{fit.folder}: case {case_id} is not reproduced as it was after training ({difference}), so the "
                    f"code that predicts changed since: undo that, or train {member.spec} again"
                )
            arrays[f"{len(cases)}.scores"] = stored.scores
            if stored.map is not None:
                arrays[f"{len(cases)}.map"] = stored.map
            reference.setdefault(case_id, []).append(stored)
            cases.append(ReferenceCase(member=member.name, seed=fit.seed, fold=fit.fold, case_id=case_id))
    if changes := check_products(decision, members, reference):
        raise UserError(f"{decision.name}: {changes[0]}, so the code changed since: undo that, or blend again")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(decision.folder / "kept.npz", buffer.getvalue())
    results = [blend_case(decision, predictions) for predictions in reference.values()]
    return Reference(
        cases=tuple(cases),
        sha256=files.sha256_bytes(buffer.getvalue()),
        blended={result.case_id: tuple(map(float, result.scores)) for result in results},
        lines=product_lines(decision, members[0].config, members[0].dataset.source, results),
    )


def check_reference(decision: Decision, session: Session) -> list[str]:
    """Which reference cases, or what is delivered of them, are no longer reproduced; or why that cannot be told.

    An experiment's plain mean has no reference: what is delivered is compared for a few cases of its first fit.
    """
    if decision.reference is None:
        member = load_member(decision.members[0].name, session)
        return check_products(decision, [member], choose_cases(member, member.fits[0]))
    if changes := check_kept(decision):
        return changes
    members = {member.name: load_member(member.name, session) for member in decision.members}

    def predict(one: ReferenceCase) -> Prediction:
        member = members[one.member]
        fit = next(f for f in member.fits if (f.seed, f.fold) == (one.seed, one.fold))
        return predict_again(member, fit, one.case_id)

    first = members[decision.members[0].name]
    two_heads = {name for name, member in members.items() if member.two_heads}
    changes, case_ids = compare_kept(decision, predict, two_heads, first.config, first.dataset.source)
    return changes or check_products(decision, list(members.values()), case_ids)


def check_kept(decision: Decision) -> list[str]:
    """Why the file of the reference predictions cannot be used; empty where it can."""
    path = decision.folder / "kept.npz"
    if not path.is_file():
        return [f"{path} is missing"]
    if decision.reference is None or files.sha256_file(path) != decision.reference.sha256:
        return [f"{path} changed"]
    return []


def compare_kept(
    decision: Decision,
    predict: Callable[[ReferenceCase], Prediction],
    two_heads: Collection[str],
    config: Task,
    source: Source,
) -> tuple[list[str], list[str]]:
    """Predict the reference cases again, and blend and write down what was stored of them.

    Args:
        decision: A sealed decision.
        predict: What today's code predicts for a reference case.
        two_heads: Names of the members whose case scores are those of a second head.
        config: The first member's experiment.
        source: Says how run lengths count pixels.

    Returns:
        What is no longer as it was sealed; ids of the cases.
    """
    assert decision.reference is not None, "only a sealed decision has reference predictions"
    changes = []
    predictions: dict[str, list[Prediction]] = {}
    with np.load(decision.folder / "kept.npz") as arrays:
        cases = decision.reference.cases
        for number, one in enumerate(track(cases, len(cases), "Reproducing reference cases")):
            stored = Prediction(one.case_id, arrays[f"{number}.scores"], arrays.get(f"{number}.map"))
            predictions.setdefault(one.case_id, []).append(stored)
            member = next(member for member in decision.members if member.name == one.member)
            tolerance = TOLERANCES[member.predict_precision]
            if difference := compare(stored, predict(one), two_heads=one.member in two_heads, tolerance=tolerance):
                folder = fit_folder(member.spec, one.seed, one.fold)
                changes.append(
                    f"the code predicts case {one.case_id} of {folder} otherwise than validated ({difference})"
                )
    results = {case_id: blend_case(decision, found) for case_id, found in predictions.items()}
    for case_id, scores in decision.reference.blended.items():
        if difference := _gap(np.array(scores), results[case_id].scores):
            changes.append(f"the code blends the members' predictions of case {case_id} otherwise ({difference})")
    lines = product_lines(decision, config, source, results.values()) if decision.reference.lines else {}
    for case_id, line in lines.items():
        if not _same_line(decision.reference.lines[case_id], line):
            changes.append(f"mask or submission line of case {case_id} differ from those that were validated")
    return changes, list(results)


def choose_cases(member: Member, fit: OpenFit) -> list[str]:
    """Two held-out cases of a fit, always the same: one positive and one negative where there are both."""
    labels = fit.table[[f"y_{name}" for name in member.dataset.classes]].to_numpy(float)
    order = sorted(fit.table.index, key=lambda case_id: hashlib.sha256(case_id.encode()).hexdigest())
    positive = dict(zip(fit.table.index, np.nan_to_num(labels).any(1), strict=True))
    chosen = [case for wanted in (True, False) for case in [one for one in order if positive[one] == wanted][:1]]
    return (chosen + [case for case in order if case not in chosen])[:CASES]


def compare(stored: Prediction, fresh: Prediction, *, two_heads: bool = False, tolerance: Tolerance = EXACT) -> str:
    """How two predictions of a case differ by more than processors do; empty where they agree.

    The scores of a map follow from it; those of a second head are compared too. ``tolerance`` is that of their number
    format.
    """
    if stored.map is None:
        return _gap(stored.scores, fresh.scores, tolerance.score)
    if fresh.map is None or stored.map.shape != fresh.map.shape:
        return "another shape"
    steps = np.abs(stored.map.astype(np.int16) - fresh.map)
    if np.count_nonzero(steps > tolerance.step) > tolerance.share * steps.size:
        return f"map off by {int(steps.max())} of 255"
    return _gap(stored.scores, fresh.scores, tolerance.score) if two_heads else ""


def predict_again(member: Member, fit: OpenFit, case_id: str) -> Prediction:
    """What today's code predicts for a case that a fit held out."""
    if member.config.imported is not None:  # nothing is computed: its files are hashed
        return stored_prediction(member, fit, case_id)
    dataset = member.dataset
    config = member.config.model_copy(update={"predict_precision": member.precision})
    model = member.session.network(config, fit.folder / "weights.safetensors", dataset)
    image = dataset.read_image(case_id)
    first_map = first_stage_map(member.first_stage, case_id)
    return predict_case(
        config, [model], case_id, image, exclusive=dataset.exclusive, tta=member.tta, first_map=first_map
    )[0]


def check_products(decision: Decision, members: Sequence[Member], case_ids: Iterable[str]) -> list[str]:
    """Which cases no longer get the scores and the mask that were scored; computed from out-of-fold predictions.

    A blend is compared with its table, an experiment's plain mean with the table of its first fit.
    """
    changes: list[str] = []
    results: Iterable[Blended]
    if decision.is_blend:
        table = read_table(decision.folder, "in_sample").set_index("case_id")
        wanted, rows = set(case_ids), table.reset_index()
        shown = [name for name, of in cases_of(rows).items() if not wanted.isdisjoint(of)]
        results = held_out_results(decision, members, rows, shown)
    else:
        member, fit = members[0], members[0].fits[0]
        table = fit.table
        stored = ([stored_prediction(member, fit, case_id)] for case_id in case_ids)
        results = (blend_case(decision, one) for one in stored)
    dataset = members[0].dataset
    for found in results:
        case_id, row = found.case_id, table.loc[found.case_id]
        truth = None if found.mask is None else dataset.truth(case_id)
        scored = None
        if found.map is not None and truth is not None:
            scored = as_scored(decision, found, truth)
        scores = found.scores if scored is None else scored.scores
        if difference := _gap(row[[f"p_{name}" for name in decision.classes]].to_numpy(float), scores):
            changes.append(f"the code scores case {case_id} otherwise than validated ({difference})")
        if scored is None or scored.mask is None or truth is None:
            continue
        if scored.detections is not None:
            one = {"case_id": case_id, "detections": row["detections"]}
            if _detected_otherwise(members[0], one, truth, scored.detections):
                changes.append(f"the code detects otherwise in case {case_id} than validated")
        mask, truth = hide(scored.mask, truth), hide(truth, truth)
        counts = count_errors(mask, truth, len(decision.classes), decision.exclusive)
        names = [[f"{kind}_{name}" for kind in ("tp", "fp", "fn")] for name in decision.classes]
        if wrong := int(np.abs(counts - row[np.ravel(names)].to_numpy(float).reshape(counts.shape)).sum()):
            changes.append(f"the code makes another mask of case {case_id} than validated ({wrong} counts differ)")
    return changes


def _detected_otherwise(member: Member, row: Mapping[str, Any], truth: np.ndarray, rows: np.ndarray) -> bool:
    assert member.config.finder is not None, "detections are of members that detect"
    source, case = member.dataset.source, member.dataset.row(row["case_id"])
    fresh = json.loads(detections_text(rows, true_objects(source, case, truth, member.config.finder)[1]))
    stored = json.loads(row["detections"])
    return len(fresh) != len(stored) or not np.allclose(fresh, stored, atol=_NEAR)


def product_lines(
    decision: Decision, config: Task, source: Source, results: Iterable[Blended]
) -> dict[str, tuple[str, ...]]:
    """What a submission would hold of cases: a text for every class, and hashes of the mask and of detections."""
    runs = run_lengths(config, source)
    lines = {}
    for result in results:
        values = case_values(result, config.submission, decision.classes, runs)
        mask = [] if result.mask is None else [files.sha256_bytes(np.ascontiguousarray(result.mask).tobytes())]
        found = [] if result.detections is None else [files.sha256_bytes(rows_to_text(result.detections).encode())]
        lines[result.case_id] = (*map(str, values.values()), *mask, *found)
    return lines


def _same_line(stored: tuple[str, ...], fresh: tuple[str, ...]) -> bool:
    """Whether texts are equal, or numbers that differ by no more than processors do."""
    return len(stored) == len(fresh) and all(
        one == other or ("." in one and "." in other and not _gap(np.float64(one), np.float64(other)))
        for one, other in zip(stored, fresh, strict=True)
    )


def _gap(stored: np.ndarray | np.float64, fresh: np.ndarray | np.float64, tolerance: float = EXACT.score) -> str:
    """How far scores are off by more than processors differ; empty where they agree.

    Numbers beyond 1, of regressions, are compared by the digits that float32 has of them.
    """
    gap = float(np.max(np.abs(stored - fresh) / np.maximum(np.abs(stored), 1)))
    return f"score off by {gap:.2g}" if not gap <= tolerance else ""
