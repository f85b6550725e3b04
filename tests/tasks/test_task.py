"""Task fields: defaults that fit the task, contradictions refused, and imports that stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from heldout.errors import UserError
from heldout.files import REPOSITORY
from heldout.metrics.registry import METRICS
from heldout.tasks import Classify2D, Classify3D, Segment2D, Segment3D

TASKS = [Classify2D, Classify3D, Segment2D, Segment3D]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_ranks_by_a_metric_of_its_kind(task):
    assert METRICS[task.create().metric].kind == task.kind


def test_importing_tasks_loads_no_heavy_library():
    code = (
        "import sys, heldout.tasks, heldout.tasks.check\n"
        "heavy = {'torch', 'monai', 'timm', 'segmentation_models_pytorch', 'albumentations', 'pandas', 'scipy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    path = ":".join(sys.path)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("task", TASKS)
def test_every_field_can_be_written_to_json(task):
    assert task.create().identity()["task"] == task.__name__


@pytest.mark.parametrize(
    ("task", "fields", "words"),
    [
        (Segment2D, {"flips": "x"}, "flips = 'x'"),
        (Segment3D, {"flips": "xx"}, "flips = 'xx'"),
        (Classify2D, {"patch_size": (32, 32)}, "image_size"),
        (Segment3D, {"filters": (8, 16, 32), "deep_supervision": 2}, "4 filters"),
        (Segment3D, {"arch": "unet", "deep_supervision": 1}, "arch = 'dynunet' or 'resenc'"),
        (Segment3D, {"arch": "resenc", "filters": (16, 32, 48)}, r"set filters = \(16, 32, 64\)"),
        (Segment2D, {"arch": "Unett"}, "'Unet'"),
        (Segment2D, {"class_weights": (1.0, 0.0)}, "positive"),
        (Classify3D, {"loss": "dice"}, "'bce'"),
    ],
    ids=str,
)
def test_contradictions_are_refused(task, fields, words):
    with pytest.raises(UserError, match=words):
        task.create(overrides=fields)


@pytest.mark.parametrize("room", ["nets", "losses", "augment"])
def test_networks_losses_and_augmentation_know_no_experiment(room):
    for path in (REPOSITORY / "src" / "heldout" / "tasks" / room).glob("*.py"):
        names = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert not names & {"heldout.config", "heldout.tasks", "heldout.tasks.base"}, path
