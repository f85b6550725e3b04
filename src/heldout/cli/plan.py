"""Commands that tell before a training what it takes, and what it may bring."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.cli.shared import (
    AsForm,
    AsJson,
    Budget,
    Form,
    Settings,
    SkipBad,
    command,
    configure,
    finish,
    print_in,
    print_table,
)
from heldout.errors import UserError, note
from heldout.records import finite
from heldout.report.format import number

if TYPE_CHECKING:
    from heldout.evaluate.growth import Growth
    from heldout.launch.forecast import Forecast, WorkForecast
    from heldout.launch.plan import Fit
    from heldout.tasks import Task

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@command("python run.py plan exp042 --gpus 4")
def plan(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="exp042, exp042@quick, ...")],
    budget: Budget = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    gpus: Annotated[int | None, typer.Option(min=1, metavar="N", help="GPUs; a fit has its devices of them")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="fits at once; as many as --gpus, or 1")
    ] = None,
    measurement: Annotated[
        Path | None,
        typer.Option("--measured", metavar="FILE", help="a file of working/plans/, copied from another machine"),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="SIZE", help="propose patch and batch size for memory such as 16GB")
    ] = None,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """Forecast time, memory, disk and energy of the missing fits, from a few steps measured on this machine."""
    configs = [configure(spec, budget, settings, skip_bad) for spec in experiments]
    if fit is not None:
        _propose(configs, _bytes(fit))
        return

    from heldout.data.cases import open_dataset
    from heldout.launch import forecast
    from heldout.launch.local import share_of_cores
    from heldout.launch.measure import measured, read_measured
    from heldout.launch.plan import Fit
    from heldout.train.numerics import run_threads
    from heldout.train.runs import check_identity

    devices = max(config.devices for config in configs)
    at_once = workers or max(1, (gpus or 1) // devices)
    forecasts: dict[Fit, Forecast] = {}
    rows, values = [], []
    for config in configs:
        dataset = open_dataset(config)
        check_identity(config, dataset)
        wanted = [Fit(config.spec, seed, fold) for seed in config.seeds for fold in config.fold_list]
        left = [one for one in wanted if not one.is_finished()]
        if measurement is None:
            share = None if at_once == 1 else share_of_cores(at_once)
            found = measured(wanted[0], run_threads(config) or share)
        else:
            found = read_measured(measurement)
            if found.spec != config.spec:
                raise UserError(
                    f"--measured {measurement} is of {found.spec}, not of {config.spec}: plan that one apart"
                )
            if found.identity_hash != config.identity_hash():
                note(
                    f"--measured {measurement} is of {config.spec} as it was before an edit: run `plan` on "
                    "that machine again"
                )
        each = forecast.forecast_fit(config, found)
        forecasts |= dict.fromkeys(left, each)
        held = sum(len(dataset.part(part)) for part in ("test", "submit"))
        cases = len(dataset.part("train"))
        predicting = forecast.forecast_prediction(found, len(wanted), held)
        blending = forecast.forecast_blend(found, len(config.seeds), cases, len(config.fold_list))
        whole = forecast.WorkForecast(
            each.seconds, each.host_bytes, each.device_bytes, each.disk_bytes, each.watt_hours
        )
        parts = ((f"fit ({len(left)} missing)", whole), ("predict", predicting), ("blend", blending))
        rows += [_row(config.spec, what, cost) for what, cost in parts]
        values.append(
            {
                "spec": config.spec,
                "missing_fits": len(left),
                **{name: getattr(each, name) for name in each.__dataclass_fields__},
                "seconds": each.seconds,
                "prediction": asdict(predicting),
                "blend": asdict(blending),
                "machine": found.machine,
                "threads": found.threads,
                "measured": found.measured,
            }
        )
    needs = {one: tuple(need for need in one.needs() if not need.is_finished()) for one in forecasts}
    for absent in {need for few in needs.values() for need in few} - forecasts.keys():
        note(f"{absent} must be trained first and is not counted: name {absent.spec} too")
    seconds = forecast.makespan({one: about.seconds for one, about in forecasts.items()}, needs, at_once)
    columns = ("experiment", "what", "time", "memory", "GPU", "disk", "Wh*")
    if as_json or form:
        print_in(form or Form.json, columns, rows, {"workers": at_once, "seconds": seconds, "experiments": values})
        return
    print_table("", columns, rows, words=("experiment", "what"))
    print(f"{len(forecasts)} missing fits, {at_once} at once: {_duration(seconds)}, from start to end")
    print(f"measured on {values[0]['machine']}, {values[0]['measured']}")
    print("* energy is an estimate: 8 W for each CPU thread, and a GPU at its power limit")
    for line in forecast.warnings(list(forecasts.values()), at_once, _gpu_bytes()):
        note(line)
    for config in configs:
        if config.devices > 1:
            note(
                f"{config.spec} trains a fold on {config.devices} devices, and its steps are measured on one with the "
                f"whole batch: time and GPU memory are at most these, and hardly less than 1/{config.devices} of them"
            )
    count = f"{len(configs)} measurement{'s' if len(configs) > 1 else ''}"
    finish(f"working/plans/ ({count})" if measurement is None else "nothing", configs[0].spec)


@command("python run.py worth exp042")
def worth(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="exp042, exp042@quick, ...")],
    budget: Budget = None,
    settings: Settings = None,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """Tell what one more seed or fold of an experiment may bring, and what an hour of that is worth."""
    configs = [configure(spec, budget, settings, False) for spec in experiments]

    from heldout.evaluate.growth import growth
    from heldout.launch.worth import Worths

    times, rows, values = Worths(), [], []
    for config in configs:
        found, minutes = growth(config.spec), times.of(config.spec).minutes
        assert minutes is not None, "some of its fits are finished"
        hours = minutes * found.planned / 60
        rows.append(_worth_row(found, minutes, hours))
        values.append({**_plain(asdict(found)), "fold_hours": minutes / 60, "seed_hours": hours})
    columns = (
        *("experiment", "metric", "score", "seeds", "one more seed", "takes", "gain an hour"),
        *("folds", "one more fold: interval", "a fold takes"),
    )
    if as_json or form:
        print_in(form or Form.json, columns, rows, values)
        return
    print_table("", columns, rows, words=("experiment", "metric"))
    print("A seed is averaged with those there are: the expected gain, and where 95 of 100 such seeds lie.")
    print("A fold adds cases: the interval of the score narrows.")
    if any(value["seed_gain"] is None for value in values):
        note("an experiment with fewer than two seeds of the same folds says nothing of the next one: train a second")
    finish("nothing", configs[0].spec)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON knows them."""
    known = {name: finite(value) if isinstance(value, float) else value for name, value in values.items()}
    return {name: _plain(value) if isinstance(value, dict) else value for name, value in known.items()}


def _worth_row(found: Growth, minutes: float, hours: float) -> list[object]:
    gain, an_hour = "?", "?"
    if (seed := found.seed_gain) is not None:
        gain = f"{seed.value:+.4f} [{seed.low:+.4f}, {seed.high:+.4f}]"
        an_hour = f"{seed.value / hours:+.4f} [{seed.low / hours:+.4f}, {seed.high / hours:+.4f}]"
    then = "-" if found.next_width is None else f"±{found.width:.3f} → ±{found.next_width:.3f}"
    return [
        *(found.spec, found.metric, number(found.score.value), found.seeds, gain, _duration(3600 * hours), an_hour),
        *(f"{found.folds} of {found.planned}", then, "-" if found.next_width is None else _duration(60 * minutes)),
    ]


def _row(spec: str, what: str, cost: WorkForecast) -> list[object]:
    gpu = "-" if cost.device_bytes is None else _size(cost.device_bytes)
    return [
        *(spec, what, _duration(cost.seconds), _size(cost.host_bytes), gpu),
        *(_size(cost.disk_bytes), f"{cost.watt_hours:.3g}"),
    ]


def _propose(configs: list[Task], size: int) -> None:
    from heldout.data.cases import open_dataset
    from heldout.launch.sizes import propose

    for config in configs:
        found = propose(config, open_dataset(config), size)
        print(
            f"{config.spec}: {found.field} = {found.size}, batch_size = {found.batch_size} "
            f"({_size(found.peak_bytes)} in a step)"
        )
        fields = f"--set {found.field}={found.size} --set batch_size={found.batch_size}".replace(", ", ",")
    finish("nothing", f"plan {configs[-1].spec} {fields}")


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kmgt]?)i?b?\s*", text.lower())
    if match is None or not float(match[1]):
        raise UserError(f"--fit {text!r} is not an amount of memory: write it as 16GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _gpu_bytes() -> int | None:
    import torch

    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
