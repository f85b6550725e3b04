"""The other way Kaggle asks: RSNA 2025 hands over one series at a time, and wants one row of probabilities back.

Kaggle's ``kaggle_evaluation`` calls ``predict(series_path)`` from a thread of its server, in another order every time.
The files of a series are links below ``/kaggle/shared`` that the callee has to remove, or the disk fills up.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.blend.decision import Decision
from heldout.data.sources import as_list, identifier, source_class
from heldout.data.sources.rsna_aneurysm import LOCATIONS, PRESENT, RsnaAneurysm
from heldout.deliver.kernel.runtime import MOST_FAILURES, FailSafe, open_bundle, write_log
from heldout.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from heldout.config import BaseConfig

COLUMNS = (*LOCATIONS, PRESENT)
ID = "SeriesInstanceUID"
SECONDS_PER_CALL = 30 * 60  # for each series but the first, during which networks may be loaded
SECONDS_TO_START = 15 * 60  # until the server must answer
USUAL_CASES = 100  # the share of failures counts among so many at least, where it is not known how many there will be


class SeriesServer:
    """Answers for one series after another, with the sealed decision of a bundle.

    The bundle is checked at once, the networks are loaded during the first call: how long that takes does not count.

    Args:
        bundle: The dataset that ``kernel`` wrote; may be read-only.
        working: Folder for ``kernel_log.json``, which is written anew after every call.
        shared: Folder where the series appear; emptied after every call.
        most_failures: Share of series that may get the prior.
        cases: How many series are expected; None where that is unknown.

    Raises:
        UserError: the bundle was changed, or its decision is not of this competition.
    """

    def __init__(
        self,
        bundle: Path,
        working: Path,
        shared: Path,
        *,
        most_failures: float = MOST_FAILURES,
        cases: int | None = None,
    ) -> None:
        from heldout.config import load

        self._begun = time.perf_counter()
        self.bundle = open_bundle(bundle)
        config = load(self.bundle.decision.members[0].spec)
        check_served(self.bundle.decision, config)
        self.working, self.shared = working, shared
        source = source_class(config.source)(shared, **config.source_options)
        self.safe = FailSafe(self.bundle, source, cases or USUAL_CASES, most=most_failures)
        self._waited, self._answered = 0.0, time.perf_counter()

    def predict(self, series_path: str) -> pd.DataFrame:
        """One row: the probability of every location, and of any aneurysm.

        Raises:
            UserError: more series fail than may.
        """
        self._waited += time.perf_counter() - self._answered  # the time between calls is the gateway's
        folder = Path(series_path)
        try:
            result = self.safe.one({"case_id": identifier(folder.name), "image": as_list(folder)})
        finally:
            clear(self.shared)
        self._answered = time.perf_counter()
        write_log(self.working, self.bundle, self.safe, self._answered - self._begun - self._waited)
        return as_row(result.scores, self.bundle.decision)


def check_served(decision: Decision, config: BaseConfig) -> None:
    """Refuse decisions that cannot fill the row that the competition wants.

    Raises:
        UserError: the cases are not series of RSNA 2025, or the classes are not its labels.
    """
    if not is_served(config):
        raise UserError(
            f"{config.spec} reads {config.source}, but a server is asked for by RSNA 2025 (rsna_aneurysm) alone: "
            "write the kernel with --mode batch"
        )
    if decision.postprocess.by:
        raise UserError(
            f"the hook of {config.experiment} needs all cases of a {decision.postprocess.by}, and the server "
            "is asked for one at a time: blend without the hook"
        )
    if sorted(decision.classes) != sorted(map(identifier, COLUMNS)):
        raise UserError(
            f"{decision.name} predicts {len(decision.classes)} classes, the server must answer with the "
            f"{len(COLUMNS)} labels of train.csv: train on all of them"
        )


def is_served(config: BaseConfig) -> bool:
    """Whether the competition of an experiment's source asks series by series."""
    return issubclass(source_class(config.source), RsnaAneurysm)


def as_row(scores: Sequence[float] | np.ndarray, decision: Decision) -> pd.DataFrame:
    """Probabilities by class as one row in the competition's columns, without an id."""
    import pandas as pd

    by_class = dict(zip(decision.classes, map(float, scores), strict=True))
    return pd.DataFrame([[by_class[identifier(name)] for name in COLUMNS]], columns=list(COLUMNS))


def clear(shared: Path) -> None:
    """Remove what the gateway put into the shared folder; what is mounted there is not ours to remove."""
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True, exist_ok=True)
