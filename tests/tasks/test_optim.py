from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from heldout.config import BaseConfig
from heldout.tasks.optim import build_optimizer, build_schedule, choose_precision, cpu_flags, lr_factor
from heldout.train.average import ModelEma


@pytest.mark.parametrize(
    ("wanted", "device", "capability", "flags", "got"),
    [
        ("auto", "cpu", None, {"avx2"}, "32-true"),
        ("auto", "cpu", None, {"avx512_bf16"}, "bf16-mixed"),
        ("auto", "cpu", None, {"amx_bf16"}, "bf16-mixed"),
        ("auto", "cuda", (7, 5), set(), "16-mixed"),
        ("auto", "cuda", (8, 0), set(), "bf16-mixed"),
        ("auto", "cuda", (12, 0), set(), "bf16-mixed"),
        ("auto", "mps", None, set(), "32-true"),
        ("16-mixed", "cuda", (9, 0), set(), "16-mixed"),
        ("16-mixed", "cpu", None, set(), "32-true"),
        ("32-true", "cuda", (9, 0), set(), "32-true"),
        ("bf16-mixed", "cpu", None, set(), "bf16-mixed"),
    ],
)
def test_precision(wanted, device, capability, flags, got):
    assert choose_precision(wanted, device, capability, flags) == got


def test_flags_of_a_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx512_bf16", "sse"}
    assert cpu_flags(tmp_path / "none") == set()


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_schedules_rise_then_never_rise_again(schedule, warmup):
    rates = [lr_factor(step, 100, schedule, warmup) for step in range(101)]
    top = round(100 * warmup)
    assert rates[top] == 1
    assert all(0 <= rate <= 1 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert rates[-1] == (1 if schedule == "constant" else pytest.approx(0, abs=1e-5))


def test_schedule_moves_every_group_per_optimizer_step():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    config = BaseConfig(epochs=2, lr=0.5, warmup_fraction=0.0)
    optimizer = build_optimizer(config, network, "32-true")
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 3]
    schedule = build_schedule(config, optimizer, steps_per_epoch=5)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.25, 0.25])


def test_average_follows_weights_slowly_and_copies_statistics():
    network = nn.BatchNorm1d(2)
    average = ModelEma(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(3.0)
    network(torch.randn(8, 2))
    expected = 1.0
    for update in range(200):
        average.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * 3.0
        assert average.module.weight.tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert torch.equal(average.module.running_mean, network.running_mean)
    assert int(average.module.num_batches_tracked) == 1

    other = ModelEma(nn.BatchNorm1d(2), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 200
    assert torch.equal(other.module.weight, average.module.weight)


def test_no_average_is_the_network_itself():
    network = nn.Linear(1, 1)
    average = ModelEma(network, None)
    average.update()
    assert average.module is network
