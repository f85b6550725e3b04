"""Pretrained weights by name: where they are found, what they standardize by, and what is said where they are not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file

from heldout import files
from heldout.errors import UserError
from heldout.launch.travel import weights_of
from heldout.predict.models import load_model, save_model
from heldout.tasks import Classify2D, Classify3D, MultiTask2D, Segment2D, Segment3D, Task
from heldout.tasks.nets.hub import HubWeights, statistics_of
from tests.tasks.hub import serve

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FETCH = """
import torch
from heldout.tasks import Classify2D, Segment2D
for task, encoder, weights in (
    (Classify2D, "resnet10t", True),
    (Segment2D, "mobilenet_v2", True),
    (Segment2D, "tu-resnet10t", "resnet10t.safetensors"),  # a file that is nowhere, called as the encoder
):
    config = task.create(overrides={"encoder": encoder, "encoder_weights": weights, "channels": 3})
    model = config.build_model(1, False)
    config.load_pretrained(model)
    first = next(p for p in model.body.parameters() if p.ndim > 1)
    mean = "null" if model.mean is None else [round(x, 3) for x in model.mean.tolist()]
    print(config.pretrained_file(), float(first.detach().sum()), mean)
"""


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No weights anywhere."""
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELDOUT_WEIGHTS", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home" / "input" / "weights"


def config_of(task: type[Task], **fields: object) -> Task:
    return task.create(overrides={"encoder": "resnet10t", "encoder_weights": True, **fields})


def test_weights_by_name_are_fetched_once_from_the_hub(tmp_path):
    from segmentation_models_pytorch.encoders import get_encoder

    donors = {"timm": timm.create_model("resnet10t"), "smp": get_encoder("mobilenet_v2")}
    settings = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "input_range": [0, 1], "input_space": "RGB"}
    hub = {
        "timm/resnet10t.c3_in1k/model.safetensors": save(donors["timm"].state_dict()),
        "smp-hub/mobilenet_v2.imagenet/model.safetensors": save(donors["smp"].state_dict()),
        "smp-hub/mobilenet_v2.imagenet/config.json": json.dumps(settings).encode(),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HELDOUT_"))}
    environment |= {"HF_HOME": str(tmp_path), "HELDOUT_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}

    def run(address: str) -> list[str]:
        options = {"capture_output": True, "text": True, "env": {**environment, "HF_ENDPOINT": address}, "timeout": 120}
        done = subprocess.run([sys.executable, "-c", FETCH], check=False, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with serve(hub) as address:
        fetched = run(address)
    assert run("http://127.0.0.1:1") == fetched  # from the cache
    means = (list(MEAN), settings["mean"], None)
    for line, donor, mean in zip(fetched, [*donors.values(), donors["timm"]], means, strict=True):
        path, total, shown = line.split(" ", 2)
        first = next(p for p in donor.parameters() if p.ndim > 1)
        assert Path(path).name == "model.safetensors"
        assert float(total) == pytest.approx(float(first.detach().sum()), abs=1e-4)
        assert json.loads(shown) == mean


@pytest.mark.parametrize("settings", ["{", "[1]", '{"mean": [1]}', '{"mean": [1], "std": [1], "input_range": [0]}'])
def test_damaged_settings_beside_weights_are_named(tmp_path, settings):
    (tmp_path / "config.json").write_text(settings)
    weights = HubWeights("x.imagenet", "x.imagenet", "smp-hub/x.imagenet", None, None, None)
    with pytest.raises(UserError, match=r"config\.json .*download the weights again"):
        statistics_of(weights, tmp_path / "model.safetensors")


@pytest.mark.parametrize("place", ["resnet10t.safetensors", "resnet10t.c3_in1k.safetensors", "resnet10t.c3_in1k/model"])
@pytest.mark.parametrize("tag", [True, "c3_in1k"])
def test_weights_by_name_are_found_in_the_folders_of_weights(empty, place, tag):
    path = (empty / place).with_name(Path(place).name.removesuffix(".safetensors") + ".safetensors")
    path.parent.mkdir(parents=True)
    save_file(timm.create_model("resnet10t").state_dict(), path)
    assert config_of(Classify2D, encoder_weights=tag).pretrained_file() == path


@pytest.mark.parametrize(
    ("task", "fields", "channels"),
    [
        (Classify2D, {}, 3),
        (Segment2D, {"encoder": "tu-resnet10t"}, 3),
        (MultiTask2D, {"encoder": "tu-resnet10t"}, 4),
        (Classify3D, {"arch": "slices"}, 1),
    ],
)
def test_images_are_standardized_as_the_weights_want_it_and_networks_keep_that(empty, tmp_path, task, fields, channels):
    empty.mkdir(parents=True)
    save_file(timm.create_model("resnet10t").state_dict(), empty / "resnet10t.safetensors")
    config = config_of(task, channels=channels, **fields)
    model = config.build_model(1, False)
    config.load_pretrained(model)
    wanted = [sum(MEAN) / 3] if channels == 1 else [MEAN[i % 3] for i in range(channels)]
    torch.testing.assert_close(model.mean, torch.tensor(wanted))
    gray = torch.tensor(MEAN).view(1, 3, *[1] * config.dimensions).expand(1, 3, *[32] * config.dimensions)
    if channels == 3:
        assert model.pad_input(gray).abs().max() < 1e-6
    save_model(model, tmp_path / "weights.safetensors")
    (empty / "resnet10t.safetensors").unlink()  # as in a kernel, which carries the trained networks only
    again = load_model(config, tmp_path / "weights.safetensors", 1, False)
    torch.testing.assert_close(again.mean, model.mean)
    torch.testing.assert_close(again.std, model.std)


def test_weights_of_the_hub_travel_to_where_another_machine_finds_them(empty, monkeypatch, tmp_path):
    cached = tmp_path / "cached"
    cached.mkdir()
    save_file(timm.create_model("resnet10t").state_dict(), cached / "model.safetensors")
    (cached / "config.json").write_text("{}")
    monkeypatch.setattr("heldout.tasks.nets.hub.try_to_load_from_cache", lambda _, file, **_options: str(cached / file))
    for config in (config_of(Classify2D), config_of(Classify2D, encoder_weights="resnet10t.safetensors")):
        sent = weights_of(config)
        assert set(sent) == {"resnet10t.c3_in1k/model.safetensors", "resnet10t.c3_in1k/config.json"}
        with monkeypatch.context() as node:
            node.setenv("HELDOUT_WEIGHTS", str(tmp_path / "node"))
            for place, path in sent.items():
                (tmp_path / "node" / place).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "node" / place).write_bytes(path.read_bytes())
            assert config.pretrained_file() == tmp_path / "node" / "resnet10t.c3_in1k" / "model.safetensors"


def test_a_file_of_weights_is_standardized_as_before(empty):
    empty.mkdir(parents=True)
    save_file(timm.create_model("resnet10t").state_dict(), empty / "resnet10t.safetensors")
    config = config_of(Classify2D, encoder_weights="resnet10t.safetensors")
    model = config.build_model(1, False)
    config.load_pretrained(model)
    assert model.mean is None
    assert set(model.state_dict()) == set(
        Classify2D.create(overrides={"encoder": "resnet10t"}).build_model(1, False).state_dict()
    )


@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
def test_a_hub_that_cannot_be_reached_is_told_soon_with_the_command_that_fetches(empty, monkeypatch, answers):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen()  # takes the connection, and then says nothing
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        command = rf"`hf download timm/resnet10t.c3_in1k model.safetensors --local-dir {empty}/resnet10t.c3_in1k`"
        with pytest.raises(UserError, match=f"cannot be reached: run {command} .* encoder_weights = None"):
            config_of(Classify2D).pretrained_file()
    assert time.monotonic() - begun < 3


def test_a_machine_that_is_to_stay_offline_asks_nobody(empty):
    with pytest.raises(UserError, match=r"resnet10t\.c3_in1k are not on this machine, and HF_HUB_OFFLINE is set: run"):
        config_of(Classify2D).pretrained_file()


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        (
            Classify2D,
            {"encoder_weights": "c3_in2k"},
            "'c3_in2k' are no weights of resnet10t: .* did you mean 'c3_in1k'",
        ),
        (
            Segment2D,
            {"encoder": "resnet18", "encoder_weights": "imagenett"},
            "choose one of imagenet, ssl, swsl; did you",
        ),
        (Classify2D, {"encoder": "test_resnet"}, "HF_HUB_OFFLINE"),
        (Classify2D, {"encoder": "resnet14d"}, "no pretrained weights of resnet14d: name a file"),
    ],
    ids=str,
)
def test_weights_that_do_not_exist_are_named_with_the_nearest(empty, task, fields, message):
    with pytest.raises(UserError, match=message):
        config_of(task, **fields).pretrained_file()


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "checkpoint"])
@pytest.mark.parametrize(
    ("task", "fields"),
    [(Segment3D, {"filters": (4, 6, 8)}), (Classify3D, {"encoder": "resnet10", "width": 0.25, "stem": "small"})],
    ids=["masks", "labels"],
)
def test_a_3d_network_takes_what_fits_of_any_file_and_says_so(empty, tmp_path, capsys, task, fields, wrapped):
    donor, path = task.create(overrides=fields).build_model(3, True), tmp_path / f"{task.__name__}{wrapped}.pth"
    state = {f"module.{name.removeprefix('body.')}": value for name, value in donor.state_dict().items()}
    torch.save({"epoch": 3, "model": state} if wrapped else state, path)
    config = task.create(overrides={**fields, "encoder_weights": str(path)})
    model = config.build_model(1, False)
    config.load_pretrained(model)
    known, filled = donor.state_dict(), model.state_dict()
    assert [name for name in filled if not torch.equal(filled[name], known[name])] != list(filled)
    fitting = [name for name in filled if filled[name].shape == known[name].shape]
    assert all(torch.equal(filled[name], known[name]) for name in fitting)
    said = capsys.readouterr().err
    assert f"{path.name} fills {len(fitting)} of the network's {len(filled)} tensors, not " in said


@pytest.mark.parametrize("content", [b"nothing", None], ids=["damaged", "foreign"])
def test_a_file_that_does_not_fit_a_3d_network_is_refused(empty, tmp_path, content):
    path = tmp_path / "other.safetensors"
    if content is None:
        save_file({"encoder.weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    config = Segment3D.create(overrides={"filters": (4, 6, 8), "encoder_weights": str(path)})
    words = "cannot be read" if content else r"fills 0 of the network's .*, such as encoder.weight: name another file"
    with pytest.raises(UserError, match=words):
        config.load_pretrained(config.build_model(1, False))
    assert files.sha256_file(config.pretrained_file())
