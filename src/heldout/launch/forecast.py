"""Time, memory, disk and energy of fits before they are trained, from what some steps and predictions took."""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from heldout import files
from heldout.data.memory import available_memory
from heldout.data.parallel import cores, expected_seconds
from heldout.launch.measure import MeasuredFit
from heldout.launch.order import longest_first
from heldout.launch.plan import Fit
from heldout.tasks import Task

LOG_BYTES = 400_000  # of curves, tables and records of a fit
_GIB = 2**30


@dataclass(frozen=True)
class WorkForecast:
    """What a prediction or a blend takes.

    Attributes:
        seconds: From start to end.
        host_bytes: Most memory, with that of further processes.
        device_bytes: Most memory on the GPU; None on a CPU.
        disk_bytes: Of what it leaves.
        watt_hours: Energy; an estimate.
    """

    seconds: float
    host_bytes: int
    device_bytes: int | None
    disk_bytes: int
    watt_hours: float


@dataclass(frozen=True)
class Forecast:
    """What a fit takes.

    Attributes:
        train_seconds: Of training with its validations.
        predict_seconds: Of predicting the held-out cases, with what is left at the end.
        start_seconds: Until steps take their time.
        host_bytes: Most memory, with that of its loading processes.
        device_bytes: Most memory on the GPU; None on a CPU.
        disk_bytes: Of what it leaves.
        kept_bytes: Of its state while it is trained.
        watt_hours: Energy; an estimate.
    """

    train_seconds: float
    predict_seconds: float
    start_seconds: float
    host_bytes: int
    device_bytes: int | None
    disk_bytes: int
    kept_bytes: int
    watt_hours: float

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.start_seconds + self.train_seconds + self.predict_seconds


def forecast_fit(config: Task, measured: MeasuredFit) -> Forecast:
    """What a fit takes; with early stopping at most that.

    Args:
        config: The experiment, with its number of epochs.
        measured: What its steps and predictions took.
    """
    epochs, every = config.epochs, config.validate_every
    validations = 0 if every is None else sum(e % every == 0 or e == epochs for e in range(1, epochs + 1))
    mined = (epochs - 1) // config.mine_every if config.hard_negative_fraction > 0 else 0
    per_epoch = measured.steps * float(measured.step_seconds) + float(measured.save_seconds)
    looks = validations * measured.held_out + mined * measured.training
    train = epochs * per_epoch + looks * float(measured.validate_seconds)
    end = float(measured.end_seconds) + float(measured.exit_seconds)
    predict = measured.held_out * float(measured.predict_seconds) + end
    start = float(measured.command_seconds) + float(measured.start_seconds) + float(measured.first_seconds)
    return Forecast(
        train_seconds=train,
        predict_seconds=predict,
        start_seconds=start,
        host_bytes=measured.host_bytes + config.workers * measured.loader_bytes,
        device_bytes=measured.device_bytes,
        disk_bytes=measured.weight_bytes + measured.held_out * measured.map_bytes + LOG_BYTES,
        kept_bytes=measured.state_bytes,
        watt_hours=(start + train + predict) * float(measured.watts) / 3600,
    )


def makespan(seconds: Mapping[Fit, float], needs: Mapping[Fit, Sequence[Fit]], workers: int) -> float:
    """Seconds until all fits have ended on so many workers, started in the order in which engines start them."""
    waiting = longest_first(dict(seconds), needs)
    ends: list[tuple[float, int, Fit]] = []
    done: set[Fit] = set()
    now, number = 0.0, itertools.count()
    while waiting or ends:
        for fit in list(waiting):
            if len(ends) == workers:
                break
            if all(need in done or need not in seconds for need in needs.get(fit, ())):
                heapq.heappush(ends, (now + seconds[fit], next(number), fit))
                waiting.remove(fit)
        now, _, fit = heapq.heappop(ends)
        done.add(fit)
    return now


def forecast_prediction(measured: MeasuredFit, fits: int, cases: int) -> WorkForecast:
    """Further cases, such as those of the test part, by all fits, each read and prepared once.

    The memory is that of a fit, and so more than a prediction takes.
    """
    each = float(measured.read_seconds) + fits * float(measured.predict_seconds)
    seconds = float(measured.command_seconds) + float(measured.load_seconds) + cases * each
    return WorkForecast(
        seconds=seconds,
        host_bytes=measured.host_bytes,
        device_bytes=measured.device_bytes,
        disk_bytes=cases * measured.map_bytes,
        watt_hours=seconds * float(measured.watts) / 3600,
    )


def forecast_blend(measured: MeasuredFit, seeds: int, cases: int, folds: int) -> WorkForecast:
    """A blend of the experiment alone, which reads every held-out prediction once and tunes on all cases.

    With several folds it tunes once more without each of them, and its score has an interval. Further members add
    their own; a trial of weights costs milliseconds.

    Args:
        measured: What its parts took.
        seeds: Seeds of every fold.
        cases: Of the finished folds.
        folds: How many these are.
    """
    alone = seeds * cases * float(measured.blend_seconds)
    shared = expected_seconds(alone) if measured.map_bytes else alone
    tuning = folds * cases * float(measured.tune_seconds)  # all cases, and of each fold but one all others
    interval = float(measured.interval_seconds) if folds > 1 else 0.0
    seconds = float(measured.command_seconds) + float(measured.open_seconds) + shared + tuning + interval
    processes = 1 if shared == alone else 1 + cores()
    return WorkForecast(
        seconds=seconds,
        host_bytes=processes * measured.import_bytes,
        device_bytes=None,
        disk_bytes=LOG_BYTES,
        watt_hours=seconds * float(measured.watts) / 3600,
    )


def warnings(forecasts: Sequence[Forecast], workers: int, device_bytes: int | None) -> Iterator[str]:
    """What will not fit, each with a remedy.

    Args:
        forecasts: Of the missing fits.
        workers: How many of them run at once.
        device_bytes: Memory of the GPU; None where there is none.
    """
    largest = sorted((one.host_bytes for one in forecasts), reverse=True)[:workers]
    there = available_memory()
    if there is not None and sum(largest) > there:
        yield (
            f"{workers} fits at once need {sum(largest) / _GIB:.1f} GiB of memory, and {there / _GIB:.1f} GiB are "
            "free: lower --workers, the field workers or batch_size"
        )
    most = max((one.device_bytes or 0 for one in forecasts), default=0)
    if device_bytes is not None and most > device_bytes:
        yield (
            f"a fit needs {most / _GIB:.1f} GiB of GPU memory, and the GPU has {device_bytes / _GIB:.1f} GiB: lower "
            f"batch_size or patch_size (plan --fit {device_bytes / _GIB:.0f}GB proposes them)"
        )
    disk = sum(one.disk_bytes for one in forecasts) + workers * max((one.kept_bytes for one in forecasts), default=0)
    free = shutil.disk_usage(_existing()).free
    if disk > free:
        yield (
            f"the runs need {disk / _GIB:.1f} GiB of disk, and {free / _GIB:.1f} GiB are free: free some, or set "
            "HELDOUT_HOME to a larger disk"
        )


def _existing() -> str:
    home = files.home()
    return str(next(folder for folder in (home, *home.parents) if folder.is_dir()))
