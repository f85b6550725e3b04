"""The table of RESULTS.md that says whether a run's uncertainty finds its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heldout import files
from heldout.evaluate.row import Row
from heldout.evaluate.uncertainty import METHODS, networks_key, uncertainty_folder
from heldout.report.format import number

_HEAD = """## Uncertainty

Measured by `python run.py uncertainty` on out-of-fold networks and the cases they held out: the entropy of the mean
answer (total), the mean of the answers' entropies (aleatoric) and the difference (epistemic). AUROC is that of telling
the wrong cases from the right ones, one half where it says nothing. AURC is the area under the risk-coverage curve, the
lower the better: saying nothing has the mean risk, the oracle knows all errors.

| run | by | AUROC total | aleatoric | epistemic | AURC total | saying nothing | oracle | cases | wrong |
|---|---|---|---|---|---|---|---|---|---|"""


def uncertainty_table(rows: Sequence[Row]) -> str:
    """What ``uncertainty`` measured of finished runs as they are now; empty where it was asked of none of them."""
    lines = [line for row in rows if row.kind == "run" and row.fits for line in _lines(row)]
    return "\n".join([_HEAD, *lines, ""]) if lines else ""


def _lines(row: Row) -> list[str]:
    path = uncertainty_folder(row.name) / "summary.json"
    if not path.is_file():
        return []
    wanted = {"networks": str, "rows": list, "cases": int, "wrong": int, "mean_risk": float, "oracle_aurc": float}
    found = files.read_record(path, wanted, f"make it anew, `python run.py uncertainty {row.name}`")
    if found["networks"] != networks_key(row.fits):
        return []  # it was trained anew since
    by_method: dict[str, dict[str, dict[str, Any]]] = {}
    for one in found["rows"]:
        by_method.setdefault(one["method"], {})[one["measure"]] = one
    return [
        f"| {row.name} | {METHODS[method]} | {number(of['entropy']['auroc'])} | {number(of['aleatoric']['auroc'])} | "
        f"{number(of['epistemic']['auroc'])} | {number(of['entropy']['aurc'])} | {number(found['mean_risk'])} | "
        f"{number(found['oracle_aurc'])} | {found['cases']} | {found['wrong']} |"
        for method, of in by_method.items()
    ]
