"""The common checks let sound experiments through and name what is wrong with others."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

from heldout.tasks.check import run_checks


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an experiment file into a package ``exps`` of its own."""
    package = tmp_path / "exps"
    package.mkdir()
    (package / "__init__.py").touch()
    saved = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "exps"}
    for name in saved:
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(task: str, body: str, doc: str = '"""Tiny."""\n', source: str | None = None) -> str:
        source = source or {"2": "fracatlas", "3": "msd"}[task[-2]]
        lines = [f'dataset = "somewhere"\nsource = "{source}"', body]
        text = "\n".join(lines).replace("\n", "\n    ")
        (package / "exp950.py").write_text(
            f"{doc}from heldout.tasks import {task}\n\nclass Exp950({task}):\n    {text}\n"
        )
        importlib.invalidate_caches()
        return "exp950"

    yield add
    for name in [name for name in sys.modules if name.partition(".")[0] == "exps"]:
        del sys.modules[name]
    sys.modules.update(saved)


def errors(name: str) -> list[str]:
    return [error for _, error in run_checks(name) if error is not None]


SMALL_3D = "filters = (4, 6, 8)"


@pytest.mark.parametrize(
    ("task", "body"),
    [
        ("Classify2D", 'channels = 128\nencoder = "mobilenetv3_small_050"\ntta = "h"\naugment = "strong"'),
        ("Classify2D", 'loss = "ce"\nclass_weights = (1.0, 2.0, 3.0)\nencoder = "mobilenetv3_small_050"'),
        ("Classify2D", 'encoder = "vit_tiny_patch16_224"\nimage_size = (64, 64)'),
        ("Classify3D", 'encoder = "resnet10"\nstem = "small"\nwidth = 0.25\ntta = "xyz"'),
        ("Segment2D", 'encoder = "mobilenet_v2"\nnormalise = "zscore"'),
        ("Segment2D", 'loss = "dice_ce"\nbudgets = {"quick": {"image_size": (64, 64)}}'),
        ("Segment3D", SMALL_3D + '\nnormalise = "zscore"\naugment = "strong"'),
        ("Segment3D", 'filters = (4, 6, 8, 8)\ndeep_supervision = 2\nloss = "tversky"'),
        ("Segment3D", SMALL_3D + '\narch = "unet"\naugment = "none"'),
    ],
    ids=lambda text: text[:40],
)
def test_sound_experiments_pass(write, task, body):
    assert errors(write(task, body)) == []


HOOK = "def {name}(self, *args, **kwargs):\n    import torch\n    from torch import nn\n    {body}"


@pytest.mark.parametrize(
    ("task", "body", "words"),
    [
        ("Classify2D", 'metric = "dice_pos"', "metric = 'dice_pos' needs masks"),
        ("Segment2D", 'metric = "dise_pos"', "metric 'dise_pos' does not exist"),
        ("Segment2D", 'budgets = {"quick": {"metric": "nothing"}}', "metric 'nothing' does not exist"),
        ("Segment3D", 'source = "lgg"', "source 'lgg' has 2D cases"),
        ("Segment3D", 'dataset = ""', "dataset is empty"),
        (
            "Segment3D",
            SMALL_3D
            + "\n"
            + HOOK.format(name="build_loss", body="return lambda outputs, batch: outputs['mask'].mean() / 0"),
            "build_loss gives",
        ),
        (
            "Classify2D",
            HOOK.format(name="activate", body="return 2 + args[0]['label']"),
            "activate must give",
        ),
        (
            "Classify2D",
            HOOK.format(
                name="build_model",
                body="model = super().build_model(*args)\n    model.extra = nn.Linear(2, 2)\n    return model",
            ),
            r"extra.weight of build_model gets no gradient",
        ),
        (
            "Classify2D",
            HOOK.format(name="build_model", body="return super().build_model(args[0] + 1, False)"),
            r"it must be \(2, 1\)",
        ),
        (
            "Segment3D",
            SMALL_3D
            + "\n"
            + HOOK.format(name="build_augment", body="return lambda image, mask, generator: (image, mask + 1)"),
            "nearest neighbors",
        ),
    ],
    ids=lambda text: text[-30:],
)
def test_unsound_experiments_are_named_with_a_remedy(write, task, body, words):
    assert re.search(words, errors(write(task, body))[0])


def test_a_file_without_a_title_is_refused(write):
    assert errors(write("Segment2D", "", doc=""))[0].startswith("begin the file with a docstring")
