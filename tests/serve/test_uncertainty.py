"""An uncertainty of one network says what to ask for, and is never a silent zero."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

pytest.importorskip("fastapi")
from heldout.predict.uncertainty import has_dropout

pytestmark = pytest.mark.extras


@pytest.fixture
def alone(served_home, monkeypatch, tmp_path, picture):
    """A function that opens a decision with the first of its networks, and reads an image.

    Its arguments are rates of dropout, of the head that classifies and of the masks.
    """
    from torch import nn

    from heldout.serve.model import Served

    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    (tmp_path / "image0000.png").write_bytes(picture)

    def open_one(of_head, of_masks):
        served = Served("heads")
        [member] = served.members
        served.members = [replace(member, models=member.models[:1])]
        modules = dict(member.models[0].named_modules())
        for module in modules.values():
            if isinstance(module, nn.Dropout):
                module.p = of_head
        if of_masks:
            next(one for name, one in modules.items() if name.endswith("segmentation_head")).insert(
                0, nn.Dropout2d(of_masks)
            )
        assert has_dropout(member.config, member.models[0]) == bool(of_head or of_masks)
        [case] = served.read(tmp_path)
        return served, served.prepare(case)

    return open_one


@pytest.mark.parametrize(
    ("rates", "n_samples", "message"),
    [
        ((0.0, 0.0), 1, "heads is one network without dropout"),
        ((0.0, 0.0), 20, "heads is one network without dropout"),
        ((0.2, 0.0), 20, "dropout does not act on its masks"),
        ((0.0, 0.5), 1, "n_samples=20"),
    ],
)
def test_one_answer_is_refused_and_told_what_gives_more(alone, rates, n_samples, message):
    from heldout.serve.uploads import Refused

    served, prepared = alone(*rates)
    with pytest.raises(Refused, match=message) as refused:
        served.samples(prepared, n_samples, "")
    assert refused.value.status == 409
    assert "tta=" in refused.value.detail
    values, shares = served.samples(prepared, n_samples, "h")
    assert len(values) == len(shares) == 2


def test_passes_with_dropout_of_one_network_differ(alone):
    served, prepared = alone(0.0, 0.5)
    values, shares = served.samples(prepared, 4, "")
    assert len(values) == 4
    assert served.uncertainty(values, shares).epistemic.max() > 0


@pytest.mark.parametrize("n_samples", [1, 20])
def test_networks_without_dropout_disagree(server, volume, n_samples):
    options = {"model": "volumes", "n_samples": n_samples, "files": "false"}
    answer = httpx.post(f"{server.url}/segment/uncertainty", files={"file": volume}, params=options, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["answers"] == 2
    assert answer.json()["epistemic_uncertainty"] > 0
