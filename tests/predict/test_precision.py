"""Number formats of prediction: what they change, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from heldout.blend.reference import compare
from heldout.predict import forward
from heldout.predict.forward import NetworkOutput, answer_batch
from heldout.predict.precision import FLOAT32, FORMATS, TOLERANCES, least_exact, number_format, resolve
from heldout.predict.prediction import Prediction
from heldout.tasks import Segment3D

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wanted", "cpu", "gpu"),
    [
        ("auto", "32-true", "16-mixed"),
        ("32-true", "32-true", "32-true"),
        ("16-mixed", "32-true", "16-mixed"),
        ("bf16-mixed", "bf16-mixed", "bf16-mixed"),
    ],
)
def test_what_devices_predict_in(wanted, cpu, gpu):
    assert (resolve(wanted, CPU), resolve(wanted, GPU)) == (cpu, gpu)


def test_least_exact_of_several():
    assert least_exact(["32-true", "bf16-mixed", "16-mixed"]) == "bf16-mixed"
    assert [TOLERANCES[name].score for name in FORMATS] == sorted(TOLERANCES[name].score for name in FORMATS)


def test_formats_are_left_as_they_were():
    before = torch.backends.cuda.matmul.allow_tf32
    with number_format("bf16-mixed", CPU):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    with number_format("32-true", CPU), torch.autocast("cpu"):
        pass
    assert torch.backends.cuda.matmul.allow_tf32 == before


def answers(precision: str, window=None):
    config = Segment3D.create(overrides={"predict_precision": precision, "patch_size": window, "filters": (4, 6, 8)})
    torch.manual_seed(0)
    network = config.build_model(2, True).eval()
    image = np.random.default_rng(0).random((1, 1, 24, 24, 24), np.float32)
    return answer_batch(config, network, image, True, [()]).values


@pytest.mark.parametrize("window", [None, (16, 16, 16)])
def test_bfloat16_changes_little_and_float32_nothing(window):
    exact, auto, half = (answers(name, window) for name in ("32-true", "auto", "bf16-mixed"))
    assert half.dtype == exact.dtype == np.float32
    assert np.array_equal(exact, auto)
    assert 0 < np.abs(half - exact).max() < 0.05


@pytest.mark.parametrize("place", ["values", "scores"])
def test_what_float16_cannot_hold_is_predicted_in_float32(monkeypatch, place):
    formats = []

    def mean(*_):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        formats.append(dtype)
        full = NetworkOutput(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
        overflown = np.full((1, 2), np.nan if dtype == torch.float16 else 0, np.float32)
        return replace(full, **{place: overflown})

    monkeypatch.setattr(forward, "_mean", mean)
    monkeypatch.setattr(forward, "resolve", lambda *_: "16-mixed")
    found = answers("16-mixed")
    assert np.isfinite(found).all()
    assert formats == [torch.float16, torch.float32]


def maps(*values):
    return [Prediction("a", np.zeros(1, np.float32), np.array(one, np.uint8).reshape(1, -1)) for one in values]


def test_the_tolerance_of_a_format_decides_what_is_another_prediction():
    stored, near, far = maps([100] * 2000, [103] * 2000, [100] * 1900 + [140] * 100)
    assert compare(stored, near) == "map off by 3 of 255"
    assert compare(stored, near, tolerance=TOLERANCES["16-mixed"]) == ""
    assert compare(stored, far, tolerance=TOLERANCES["bf16-mixed"]) == "map off by 40 of 255"
    few = maps([100] * 1990 + [140] * 10)[0]
    assert compare(stored, few, tolerance=TOLERANCES["bf16-mixed"]) == ""


def test_a_seal_in_float16_is_replayed_on_a_cpu_within_its_own_tolerance():
    assert resolve("16-mixed", torch.device("cpu")) == FLOAT32
    exact = np.linspace(0, 255, 4096).round()
    stored, fresh = maps(exact, np.clip(exact + np.tile([0, 1, -2, 3], 1024), 0, 255))
    assert compare(stored, fresh, tolerance=TOLERANCES["16-mixed"]) == ""
    assert compare(stored, fresh) != ""
