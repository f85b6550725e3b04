"""What a kernel runs over test cases: the package's own prediction, with the class prior for a case that fails."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from heldout import files
from heldout.blend.apply import Blended, OpenDecision
from heldout.blend.together import groups_by_case, put_together
from heldout.data.sources.tiled import TiledSource
from heldout.deliver.kernel.bundle import Bundle, check_trust, read_bundle
from heldout.deliver.kernel.packages import imported_packages
from heldout.errors import UserError
from heldout.records import Number, Record, read_record

if TYPE_CHECKING:
    from heldout.blend.decision import Decision
    from heldout.data.image import Image
    from heldout.data.sources import Source
    from heldout.deliver.submission.write import SubmissionWriter
    from heldout.tasks import Task

    Images = Iterator[tuple[str, Image]]
MOST_FAILURES = 0.02  # share of cases that may get the prior


def open_bundle(folder: Path, *, trust: bool | None = None) -> Bundle:
    """Read a bundle, and let this process find its weights and experiments.

    Args:
        folder: The bundle.
        trust: Run its code even if it was not written here, and remember that; None runs it.

    Raises:
        UserError: it is missing, damaged or was changed, or its code is not trusted.
    """
    bundle = read_bundle(folder)
    if trust is not None:
        check_trust(bundle, accept=trust)
    os.environ["HELDOUT_HOME"] = str(folder)
    sys.path.insert(0, str(folder))
    sys.pycache_prefix = os.devnull  # compiled code that lies in the bundle is not read
    return bundle


def run(bundle_folder: Path, inputs: Path, working: Path, *, most_failures: float = MOST_FAILURES) -> Path:
    """Predict a competition's test cases and write its submission file into ``working``.

    Args:
        bundle_folder: The dataset that ``kernel`` wrote; may be read-only.
        inputs: Folder of the test cases, with the sample submission where the experiment names one.
        working: Folder to write to: the submission, and ``kernel_log.json``.
        most_failures: Share of cases that may get the prior.

    Returns:
        The submission file.

    Raises:
        UserError: the bundle was changed, the inputs are not what the experiment expects, or too many cases fail.
    """
    started = time.perf_counter()
    bundle = open_bundle(bundle_folder)

    from heldout.data.sources import source_class
    from heldout.tasks import load_task

    config = load_task(bundle.decision.members[0].spec)
    source = source_class(config.source)(inputs, **config.source_options)
    writer, groups = competition_writer(config, bundle.decision, source, bundle.trained)
    rows = writer.cases.to_dict("records")
    safe = FailSafe(bundle, source, len(rows), writer.watch, most_failures)
    path = writer.write(
        put_together(bundle.decision, safe.predict(rows), groups, safe.together), working / "submission"
    )
    write_log(working, bundle, safe, time.perf_counter() - started)
    print(f"{len(rows)} cases, {len(safe.failures)} with the prior: wrote {path}", flush=True)
    return path


def competition_writer(
    config: Task, decision: Decision, source: Source, trained: Collection[str]
) -> tuple[SubmissionWriter, dict[str, str]]:
    """The writer for the cases of a competition's folder, in which files to train on may lie beside those to predict.

    Besides, the group of every case that is answered with others, see :func:`heldout.blend.together.groups_by_case`.

    Files that were trained on are left out: a public test part often holds copies of them under the same names. An id
    of the sample submission without a file is a case that cannot be read.

    Args:
        config: The experiment.
        decision: What predicts.
        source: Reads the folder.
        trained: Files that were trained on, below the folder of the dataset.

    Raises:
        UserError: the folder holds no case, or its cases do not fit the sample submission.
    """
    import pandas as pd

    from heldout.deliver.submission.form import find_sample, read_sample, with_missing, with_own_ids
    from heldout.deliver.submission.write import SubmissionWriter, as_groups

    rows = source.pictures(source.root) if isinstance(source, TiledSource) else source.loose(source.root)
    new = rows[~rows["name"].isin(list(trained))].reset_index(drop=True)
    rows = rows if new.empty else new
    groups = groups_by_case(decision, source, rows)
    pooled = bool(decision.pooling)
    if config.sample_submission is not None:
        named = as_groups(rows, groups) if pooled else with_own_ids(rows, config)
        sample = read_sample(find_sample(source.root, config.sample_submission))
        every = with_missing(named, sample, decision.classes)
        absent = every[len(named) :]
        groups |= dict(zip(absent["case_id"], absent["own_id"], strict=True)) if pooled else {}
        rows = pd.concat([rows, absent], ignore_index=True) if pooled else every
    return SubmissionWriter(config, decision.classes, rows, source, groups=groups if pooled else {}), groups


class KernelLog(Record):
    """``kernel_log.json``: what predicted how many cases, which of them failed, and how long that took.

    Attributes:
        decision, identity: Name and identity of the decision.
        cases: How many cases were predicted.
        failures: Why a case got the class prior, by its id.
        packages: Installed packages in use, as ``name==version``.
        seconds: Time of the whole run.
        start_seconds: Time until the first case, networks loaded.
        seconds_per_case: Mean time of a case but the first.
        slowest: Time of the slowest case.
    """

    schema_version: int = Field(default=1, alias="schema")
    decision: str
    identity: str
    cases: int
    failures: dict[str, str]
    packages: tuple[str, ...]
    seconds: Number
    start_seconds: Number
    seconds_per_case: Number
    slowest: Number


def write_log(working: Path, bundle: Bundle, safe: FailSafe, seconds: float) -> None:
    """Write ``kernel_log.json`` of a run that took so many seconds; its first case also loaded the networks."""
    later = safe.seconds[1:]
    each = float(np.mean(later)) if later else seconds
    log = KernelLog(
        decision=bundle.decision.name,
        identity=bundle.decision.identity,
        cases=len(safe.seconds),
        failures=safe.failures,
        packages=tuple(imported_packages()),
        seconds=round(seconds, 2),
        start_seconds=round(max(seconds - each * len(safe.seconds), 0.0), 3),
        seconds_per_case=round(each, 4),
        slowest=round(max(safe.seconds, default=0.0), 3),
    )
    files.write_json(working / "kernel_log.json", log.to_json())


def read_log(working: Path) -> KernelLog:
    """The log of a kernel's run.

    Raises:
        UserError: it is missing or damaged.
    """
    return read_record(working / "kernel_log.json", KernelLog, 1, "run the kernel again")


class FailSafe:
    """Predicts case by case; a case that fails gets the class prior and an empty mask, and is recorded.

    Args:
        bundle: What predicts.
        source: Reads the cases.
        cases: How many there will be; where that is unknown, as many as are usual.
        watch: Sees every image pass.
        most: Share of cases that may fail; more than that is systematic, and submitting priors would hide it. One
            case of several may, however few they are; with 0 none may.

    Attributes:
        failures: Why a case got the prior, by its id.
        seconds: How long every case took so far, reading included; the first also loads the networks.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Source,
        cases: int,
        watch: Callable[[Images], Images] = iter,
        most: float = MOST_FAILURES,
    ) -> None:
        self.bundle, self.source, self.cases, self.watch, self.most = bundle, source, cases, watch, most
        self.opened = OpenDecision(bundle.decision)  # loads every network once
        self.failures: dict[str, str] = {}
        self.seconds: list[float] = []

    def predict(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Blended]:
        """One result per row, in order; see :meth:`one`."""
        return map(self.one, rows)

    def one(self, row: Mapping[str, Any]) -> Blended:
        """Result of a case.

        Args:
            row: A row of :meth:`Source.loose`.

        Raises:
            UserError: more cases fail than may.
        """
        begun = time.perf_counter()
        try:
            result = self._predicted(row)
        except Exception as error:  # one case must never end a submission
            result = self._failed(row, error)
        self.seconds.append(time.perf_counter() - begun)
        return result

    def _predicted(self, row: Mapping[str, Any]) -> Blended:
        from heldout.deliver.submission.write import predict_rows

        if isinstance(self.source, TiledSource):
            return next(predict_rows(self.opened, self.source, [row], self.watch))
        # read first: a case that cannot be read must not wait for the networks
        image = self.source.read_image(row, salvage=True)
        return next(self.opened.predict(self.watch(iter([(row["case_id"], image)]))))

    def together(self, cases: Sequence[Blended], error: UserError) -> Sequence[Blended]:
        """Cases for which the hook that sees them together fails, as they were before it.

        Raises:
            UserError: more cases fail than may.
        """
        for one in cases:
            self._count(one.case_id, error, "stays as it was before the hook")
        return cases

    def _count(self, case_id: str, error: Exception, what: str) -> None:
        self.failures[case_id] = f"{type(error).__name__}: {error}"
        print(f"case {case_id} {what}: {self.failures[case_id]}", flush=True)
        expected = max(self.cases, len(self.seconds) + 1)
        # one of several may always fail, save where none may
        allowed = max(math.floor(self.most * expected + 1e-9), int(self.most > 0 and expected > 1))
        if len(self.failures) > allowed:
            raise UserError(
                f"{len(self.failures)} of {expected} cases fail, more than the {allowed} that may: the last is "
                f"{case_id} ({error}); fix the cause, or raise most_failures"
            )

    def _failed(self, row: Mapping[str, Any], error: Exception) -> Blended:
        self._count(row["case_id"], error, "gets the prior")
        decision = self.bundle.decision
        scores = np.array([self.bundle.prior[name] for name in decision.classes], np.float32)
        if decision.kind != "segmentation":
            return Blended(row["case_id"], scores, None, None)
        if isinstance(self.source, TiledSource):
            return Blended(row["case_id"], scores, None, None, runs=dict.fromkeys(decision.classes, ""))
        channels = 1 if decision.exclusive or len(decision.classes) == 1 else len(decision.classes)
        return Blended(row["case_id"], scores, None, np.zeros((channels, *self._shape(row)), np.uint8))

    def _shape(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """The case's grid, if that much can be read; an empty mask of one voxel says nothing, but can be written."""
        try:
            return self.source.read_image(row, salvage=True).full_shape
        except Exception:
            return (1,) * self.source.dimensions
