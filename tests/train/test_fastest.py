"""Layout and precision are measured once, and every fit takes the same."""

from __future__ import annotations

import pytest

from heldout import files
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.records import read_json
from heldout.tasks import Task, optim
from heldout.train import fastest, fit, runs
from tests.train.exp901 import Exp901

COMPILING = 10.0  # seconds


@pytest.fixture
def measured(squares, monkeypatch) -> dict[tuple[str, bool], float]:
    """Seconds of a step by precision and layout, on a processor with bfloat16; a compiled one takes half of them."""
    seconds = {("bf16-mixed", True): 3.0, ("bf16-mixed", False): 2.0, ("32-true", True): 1.0, ("32-true", False): 4.0}
    monkeypatch.setattr(optim, "cpu_flags", lambda: {"avx512_bf16"})

    def step_times(config: Task, *_: object) -> tuple[float, float]:
        step = seconds[config.precision, config.channels_last]
        return (step / 2, COMPILING) if config.compile else (step, 0.5)

    monkeypatch.setattr(fastest, "step_times", step_times)
    return seconds


def train(fold: int = 0, **fields: object) -> runs.RunRecord:
    config = Exp901.create(overrides={"epochs": 1, "validate_every": None, **fields})
    return runs.read_run(fit.fit_fold(config, open_dataset(config), fold, 0, quiet=True))


def test_every_fit_takes_what_was_the_fastest_for_the_first(measured):
    assert train(measure_speed=True).precision == "32-true"
    measured["32-true", True] = 9.0  # a clock on another day
    assert train(1, measure_speed=True).precision == "32-true"
    path = next((files.home() / "working" / "fastest").glob("*.json"))
    record = read_json(path)
    assert record["channels_last"] is True
    assert record["step_seconds"]["bf16-mixed, contiguous"] == 2.0


@pytest.mark.parametrize(("step", "compiled"), [(0.1, False), (9.0, True)])
def test_a_fit_is_compiled_if_that_makes_it_shorter(measured, monkeypatch, step, compiled):
    monkeypatch.setattr(fastest, "COMPILED_FROM", 0.0)
    asked = []
    monkeypatch.setattr("torch.compile", lambda network: asked.append(network) or network)
    measured["32-true", True] = step
    measured |= dict.fromkeys(measured.keys() - {("32-true", True)}, 10.0)
    config = Exp901.create(overrides={"epochs": 1, "validate_every": None, "measure_speed": True})
    folder = fit.fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    assert len(asked) == 1 + compiled, "once to measure, and for the fit"
    record = read_json(next((files.home() / "working" / "fastest").glob("*.json")))
    assert (record["compiled"], record["compile_seconds"]) == (compiled, COMPILING)
    assert record["step_seconds"]["32-true, channels-last, compiled"] == step / 2
    assert runs.read_config(folder).compiled is compiled


def test_compiling_is_not_tried_for_a_short_fit_and_what_cannot_be_compiled_is_trained(measured, monkeypatch):
    def refuse(network: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("torch.compile", refuse)
    train(measure_speed=True)
    monkeypatch.setattr(fastest, "COMPILED_FROM", 0.0)
    train(measure_speed=True, lr=0.003)
    for path in (files.home() / "working" / "fastest").glob("*.json"):
        record = read_json(path)
        assert (record["compiled"], record["compile_seconds"]) == (False, None)


def test_nothing_is_measured_unless_asked_for(measured):
    assert train().precision == "bf16-mixed"
    assert not (files.home() / "working" / "fastest").exists()


def test_a_precision_that_is_set_stays(measured):
    assert train(measure_speed=True, precision="bf16-mixed").precision == "bf16-mixed"


def test_a_damaged_record_is_named(measured):
    train(measure_speed=True)
    path = next((files.home() / "working" / "fastest").glob("*.json"))
    path.write_text('{"schema": 2}')
    with pytest.raises(
        UserError, match=r"has a missing or wrong spec.*delete it, and the next training measures again"
    ):
        train(1, measure_speed=True)
