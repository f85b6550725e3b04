"""The proof of a kernel: its own script, run offline, gives what the local prediction gives, within the time limit."""

from __future__ import annotations

import math
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from heldout.deliver.kernel.rsna2025.hidden_set import EMPTY, TRUNCATED, write_hidden_set
from heldout.deliver.kernel.rsna2025.server import ID, SECONDS_PER_CALL
from heldout.deliver.kernel.runtime import read_log
from heldout.errors import UserError

HOURS = 12.0  # Kaggle's limit for a notebook
TOLERANCE = 1e-5
_DIFFERENT = 1.2  # times of a case that differ by more are both shown

# Put before the script: every way to another machine is closed, so that a kernel that needs one fails here.
OFFLINE = """
import runpy, socket, sys
def refuse(*arguments, **options):
    raise OSError("there is no network in a kernel")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@dataclass(frozen=True)
class Replay:
    """What a replay showed.

    Attributes:
        cases: How many cases were compared.
        difference: Largest difference of a probability; 0 where the files are equal byte by byte.
        start_seconds: Time until the first prediction, networks loaded.
        seconds_per_case: Mean time of a case after that.
        slowest: Seconds of the slowest case; the first also loads the networks.
        packages: Installed packages that the kernel used, with their versions.
        bad: Why bad series of the fake hidden set got the prior, by their id; empty in batch mode.
    """

    cases: int
    difference: float
    start_seconds: float
    seconds_per_case: float
    slowest: float
    packages: tuple[str, ...]
    bad: dict[str, str] = field(default_factory=dict)


def replay(script: Path, bundle: Path, cases: Path, expected: Path, *, mode: str = "batch") -> Replay:
    """Run a kernel's script in a copy of Kaggle's folders and compare its submission with the local one.

    Args:
        script: The kernel's script.
        bundle: The bundle.
        cases: Folder of test cases; of series folders where a server answers.
        expected: Submission file made from the same cases by the local pipeline; a server may be asked for more.
        mode: ``batch`` or ``server``. A server is asked by a fake gateway: see
            :mod:`heldout.deliver.kernel.rsna2025.hidden_set`.

    Raises:
        UserError: the kernel fails, or its submission differs.
    """
    with tempfile.TemporaryDirectory() as temporary:
        kaggle = Path(temporary).resolve() / "kaggle"
        own_bundle, own_cases = kaggle / "input" / "bundle", kaggle / "input" / "cases"
        shutil.copytree(bundle, own_bundle)
        if mode == "server":
            series = {place.name: place for place in sorted(cases.iterdir()) if place.is_dir()}
            write_hidden_set(series, own_cases, kaggle / "shared")
        else:
            shutil.copytree(cases, own_cases)
        working = kaggle / "working"
        working.mkdir()
        _set_writable(kaggle / "input", False)
        try:
            _run(script, own_bundle, own_cases, working, mode)
            log = read_log(working)
            bad = {name: why for name, why in log.failures.items() if mode == "server" and name in (TRUNCATED, EMPTY)}
            if failures := {name: why for name, why in log.failures.items() if name not in bad}:
                case_id, reason = next(iter(failures.items()))
                raise UserError(f"the kernel gave {len(failures)} cases the prior, first {case_id}: {reason}")
            found = working / expected.with_stem("submission").name
            good = log.cases
            if mode == "server":
                good = _compared_rows(working / "submission.parquet", set(series), expected, found)
            difference = compare(expected, found)
            return Replay(good, difference, log.start_seconds, log.seconds_per_case, log.slowest, log.packages, bad)
        finally:
            _set_writable(kaggle / "input", True)


def _compared_rows(found: Path, asked: set[str], expected: Path, target: Path) -> int:
    """Write the series of the gateway's submission that the local one has, in its order, as CSV; count them."""
    table, order = pd.read_parquet(found).set_index(ID), pd.read_csv(expected, dtype={ID: str})[ID]
    if set(table.index) != {*asked, TRUNCATED, EMPTY} or not asked.issuperset(order):
        raise UserError("the gateway got other series than it asked for: do not submit this kernel")
    table.loc[order].reset_index().to_csv(target, index=False)
    return len(order)


def compare(expected: Path, found: Path) -> float:
    """Largest difference of two submissions' numbers.

    Raises:
        UserError: they differ in anything else, or by more than rounding.
    """
    if not found.is_file():
        raise UserError(f"the kernel wrote no {found.name}: see what it printed")
    if expected.suffix == ".zip":
        with zipfile.ZipFile(expected) as one, zipfile.ZipFile(found) as other:
            differing = set(one.namelist()) ^ set(other.namelist())
            differing |= {
                name for name in one.namelist() if name not in differing and one.read(name) != other.read(name)
            }
        if differing:
            raise UserError(f"the kernel's mask {min(differing)} differs from the local one: do not submit it")
        return 0.0
    one, other = (pd.read_csv(path, keep_default_na=False) for path in (expected, found))
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        raise UserError("the kernel's submission has other columns or rows than the local one: do not submit it")
    largest = 0.0
    for column in one.columns:
        if pd.api.types.is_float_dtype(one[column]) and pd.api.types.is_float_dtype(other[column]):
            off = (one[column] - other[column]).abs() / one[column].abs().clip(lower=1)  # numbers beyond 1 by digits
            largest = max(largest, float(off.max()))
        elif not one[column].equals(other[column]):
            raise UserError(f"the kernel's column {column} differs from the local one: do not submit it")
    if largest > TOLERANCE:
        raise UserError(f"the kernel's scores are off the local ones by up to {largest:.2g}: do not submit it")
    return largest


def _run(script: Path, bundle: Path, cases: Path, working: Path, mode: str) -> None:
    kept = ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(working),
        "HELDOUT_BUNDLE": str(bundle),
        "HELDOUT_TEST_CASES": str(cases),
        "HELDOUT_WORKING": str(working),
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PIP_NO_INDEX": "1",
    }
    if mode == "server":
        environment |= {
            "HELDOUT_SHARED": str(working.parent / "shared"),
            "HELDOUT_MOST_FAILURES": "1",  # two of its few series are bad on purpose
            "KAGGLE_IS_COMPETITION_RERUN": "1",  # the way that is scored
        }
    command = [sys.executable, "-P", "-c", OFFLINE, str(script)]
    done = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise UserError(f"the kernel fails when it is replayed: {lines[-1]}")


def _set_writable(folder: Path, writable: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


@dataclass(frozen=True)
class Budget:
    """The time of a kernel on a machine like the one it was replayed on.

    Attributes:
        replay: What was measured.
        cases: Cases to expect.
        hours: The limit for all of them.
        per_call: Seconds that the answer for one case may take; None where there is no such limit.
        estimate: Seconds per case that the choice of members was based on; None where none was made. The slower of
            this and the replay counts.
    """

    replay: Replay
    cases: int
    hours: float = HOURS
    per_call: float | None = None
    estimate: float | None = None

    @property
    def seconds_per_case(self) -> float:
        """Mean time of a case."""
        return max(self.replay.seconds_per_case, self.estimate or 0)

    @property
    def expected_hours(self) -> float:
        """Time for all cases, start included."""
        return (self.replay.start_seconds + self.cases * self.seconds_per_case) / 3600

    @property
    def fits(self) -> bool:
        """Whether both limits are kept."""
        return self.expected_hours <= self.hours and (self.per_call is None or self.replay.slowest <= self.per_call)

    def __str__(self) -> str:
        """The sum in words."""
        text = (
            f"{self.cases:,} cases at {self.seconds_per_case:.2f} s, and {self.replay.start_seconds:.0f} s to "
            f"start: {self.expected_hours:.2f} h of {self.hours:g} h"
        )
        if self.per_call is not None:
            text += f"; the slowest answer took {self.replay.slowest:.1f} s of {self.per_call:,.0f} s"
        text += f": {'fits' if self.fits else 'does not fit'} a machine as fast as this one"
        slow, fast = self.seconds_per_case, min(self.replay.seconds_per_case, self.estimate or math.inf)
        if slow <= _DIFFERENT * fast:
            return text
        return (
            f"{text}\nthe replay took {self.replay.seconds_per_case:.2f} s per case, --fit-hours measured "
            f"{self.estimate:.2f} s on cases of typical size and the largest: the slower counts"
        )


def limits(mode: str, hours: float | None) -> tuple[float, float | None]:
    """Hours and seconds per call of a mode: those of RSNA 2025 where a server answers, Kaggle's own otherwise."""
    return HOURS if hours is None else hours, SECONDS_PER_CALL if mode == "server" else None
