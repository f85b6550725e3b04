"""The reliability diagram of a decision, kept beside it, so that a bundle has it without the table of its cases."""

from __future__ import annotations

from pydantic import Field

from heldout import files
from heldout.blend.decision import Decision
from heldout.metrics.calibration import reliability_curve
from heldout.predict.store import read_table
from heldout.records import Record, read_record
from heldout.serve.answers import ReliabilityInfo

_REMEDY = "delete it: the service makes it again"


class ReliabilityRecord(Record):
    """``reliability.json``: the diagram of one decision."""

    schema_version: int = Field(default=1, alias="schema")
    identity: str
    curves: tuple[ReliabilityInfo, ...]


def reliability(decision: Decision) -> list[ReliabilityInfo]:
    """How often what the decision says of a class happened in its training cases, which its networks had not seen.

    Returns:
        A curve for every class; none of an experiment's plain mean, of a regression, and of a bundle without them.

    Raises:
        UserError: the stored ones are damaged.
    """
    path = decision.folder / "reliability.json"
    if path.is_file():
        stored = read_record(path, ReliabilityRecord, 1, _REMEDY)
        if stored.identity == decision.identity:
            return list(stored.curves)
    name = "oof" if "oof" in decision.tables else "in_sample"
    if decision.kind == "regression" or not (decision.folder / f"{name}.parquet").is_file():
        return []
    table = read_table(decision.folder, name)
    curves = []
    for label in decision.classes:
        found = reliability_curve(table[f"y_{label}"].to_numpy(float) > 0, table[f"p_{label}"].to_numpy(float))
        curves.append(
            ReliabilityInfo(
                label=label,
                stated=found.stated.tolist(),
                observed=found.observed.tolist(),
                cases=found.cases.tolist(),
            )
        )
    record = ReliabilityRecord(identity=decision.identity, curves=tuple(curves))
    files.write_json(path, record.to_json())
    return curves
