"""Detections, and masks that are left to people: the service answers what `predict` writes, and the page shows it."""

from __future__ import annotations

import subprocess
import sys

import cv2
import httpx
import numpy as np
import pandas as pd
import pytest

from tests.serve.conftest import REPOSITORY, make_home, panel_of, upload
from tests.serve.test_answers import predicted

pytestmark = pytest.mark.extras
POINTS = REPOSITORY / "tests" / "blend" / "experiments" / "exp926.py"
MASKS = '''"""Masks by the network of exp926."""
from exps.exp926 import Small
from heldout.tasks import Segment2D


class Exp101(Segment2D):
    dataset = "phantom"
    source = "phantom"
    source_options = {"patients": 20, "images_per_patient": 2, "size": 32}
    fold_count = 2
    near_duplicates = False
    normalize = "unit"
    epochs = 30
    batch_size = 4
    lr = 2e-2
    positive_fraction = 0.6
    augment = "none"
    workers = 0

    def build_model(self, classes, exclusive):
        return Small(self.mask_channels(classes, exclusive))
'''
PROGRAM = """
from heldout.blend.freeze import freeze
from heldout.blend.search import blend
from heldout.config import load
from heldout.train.fit import run_experiment
for name, spec, abstain in (("points", "exp926", None), ("masks", "exp101", 0.53)):
    config = load(spec)
    run_experiment(config, [0, 1], [0])
    blend([config.spec], name, sampler="equal", trials=1)
    freeze(name, abstain)
"""


@pytest.fixture(scope="module")
def objects_home(tmp_path_factory):
    """A project and home with a detection of points and a segmentation that abstains."""
    experiments = {"exp926": POINTS.read_text(), "exp101": MASKS}
    return make_home(tmp_path_factory.mktemp("objects"), experiments, PROGRAM)


@pytest.fixture(scope="module")
def objects_server(serve_module, objects_home):
    return serve_module("points", "masks", HELDOUT_HOME=str(objects_home), HELDOUT_PROJECT=str(objects_home))


@pytest.fixture(scope="module")
def pictures(objects_home):
    return [path.read_bytes() for path in sorted((objects_home / "input" / "phantom" / "images").glob("*.png"))]


def _post(server, path, content, **options):
    return httpx.post(f"{server.url}{path}", files={"file": content}, params=options, timeout=60)


def sharper(picture: bytes) -> bytes:
    """A picture of twice the contrast, in which the masks' edges are less sure."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
    pixels = 2 * pixels - np.median(pixels)
    return cv2.imencode(".png", np.rint(pixels.clip(0, 255)).astype(np.uint8))[1].tobytes()


@pytest.mark.parametrize("path", ["/segment", "/v1/predict"])
def test_detections_are_those_of_predict(objects_server, objects_home, tmp_path, pictures, path):
    many = max(pictures, key=lambda one: len(_post(objects_server, path, one, model="points").json()["detections"]))
    found = _post(objects_server, path, many, model="points").json()["detections"]
    predicted(objects_home, tmp_path, "points", "a.png", many)
    table = pd.read_csv(tmp_path / "out" / "detections.csv")
    assert len(found) == len(table) > 1
    for column in ("score", "x", "y"):
        np.testing.assert_array_equal([one[column] for one in found], table[column])
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


def test_a_higher_threshold_leaves_fewer_detections(objects_server, pictures):
    counts = [
        sum(
            len(_post(objects_server, "/segment", one, model="points", threshold=cut).json()["detections"])
            for one in pictures[:8]
        )
        for cut in (0.1, 0.9)
    ]
    assert counts[0] > counts[1]


def test_what_a_detection_is_not_asked_for_names_what_it_does(objects_server, pictures):
    info = httpx.get(f"{objects_server.url}/model/info", params={"model": "points"}).json()
    assert info["objects"] == "points"
    answer = _post(objects_server, "/classify", pictures[0], model="points")
    assert (answer.status_code, answer.json()["detail"]) == (409, "points detects points: ask /segment")
    form, address = {"model": "points", "verdict": "accepted"}, f"{objects_server.url}/v1/corrections"
    kept = httpx.post(address, files={"file": pictures[0]}, data=form, timeout=60)
    assert (kept.status_code, kept.json()["version"]) == (201, 1)
    masked = {"file": pictures[0], "mask": pictures[0]}
    refused = httpx.post(address, files=masked, data={**form, "verdict": "corrected"}, timeout=60)
    words = "points detects points, and corrections are masks: accept or reject it"
    assert (refused.status_code, refused.json()["detail"]) == (409, words)
    assert _post(objects_server, "/segment", pictures[0], model="masks").json()["detections"] is None


def test_the_page_lists_and_marks_detections(objects_server, open_page, pictures):
    page = open_page(objects_server)
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("points")
    count = len(_post(objects_server, "/segment", pictures[0], model="points").json()["detections"])
    panel.locator("#segment-file").set_input_files(upload("a.png", pictures[0]))
    table = panel.get_by_role("table", name="Detections as sealed")
    table.wait_for(timeout=60_000)
    assert table.locator("tbody tr").count() == count > 0
    assert panel.get_by_role("button", name="Paint").is_disabled()


def test_masks_are_left_to_people_where_predict_leaves_them(objects_server, objects_home, tmp_path, pictures):
    info = httpx.get(f"{objects_server.url}/model/info", params={"model": "masks"}).json()["abstention"]
    assert info["risk"] == 0.53
    assert 0 < info["coverage"] <= 1
    for number, picture in enumerate((pictures[0], sharper(pictures[0]))):
        answer = _post(objects_server, "/segment", picture, model="masks").json()
        assert answer["abstain"] == bool(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        row, _ = predicted(objects_home, folder, "masks", "a.png", picture)
        assert row["abstain"] == (answer["abstain_reason"] or "")
        assert bool(row["abstain"]) == bool(number)


def test_card_and_page_say_which_masks_are_left_to_people(objects_server, objects_home, open_page, pictures):
    words = [sys.executable, str(objects_home / "run.py"), "card", "masks"]
    environment = {"HELDOUT_HOME": str(objects_home), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    subprocess.run(words, check=True, capture_output=True, env=environment)
    info = httpx.get(f"{objects_server.url}/model/info", params={"model": "masks"}).json()["abstention"]
    card = (objects_home / "working" / "blends" / "masks" / "model_card.md").read_text()
    assert f"above an entropy of {info['cut']:.3f} nats" in card
    page = open_page(objects_server)
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("masks")
    panel.locator("#segment-file").set_input_files(upload("a.png", sharper(pictures[0])))
    panel.get_by_text("Left to people").wait_for(timeout=60_000)
