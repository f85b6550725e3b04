"""Layout and precision are measured once, and every fit takes the same."""

from __future__ import annotations

import pytest

from heldout import files
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.records import read_json
from heldout.tasks import optim
from heldout.train import fastest, fit, runs
from tests.train.exp901 import Exp901


@pytest.fixture
def measured(squares, monkeypatch) -> dict[tuple[str, bool], float]:
    """Seconds of a step by precision and layout, on a processor with bfloat16; more variants may be added."""
    seconds = {("bf16-mixed", True): 3.0, ("bf16-mixed", False): 2.0, ("32-true", True): 1.0, ("32-true", False): 4.0}
    monkeypatch.setattr(optim, "cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(fastest, "step_seconds", lambda config, *_: seconds[config.precision, config.channels_last])
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


def test_nothing_is_measured_unless_asked_for(measured):
    assert train().precision == "bf16-mixed"
    assert not (files.home() / "working" / "fastest").exists()


def test_a_precision_that_is_set_stays(measured):
    assert train(measure_speed=True, precision="bf16-mixed").precision == "bf16-mixed"


def test_a_damaged_record_is_named(measured):
    train(measure_speed=True)
    path = next((files.home() / "working" / "fastest").glob("*.json"))
    path.write_text('{"schema": 1}')
    with pytest.raises(
        UserError, match=r"has a missing or wrong spec.*delete it, and the next training measures again"
    ):
        train(1, measure_speed=True)
