"""Regressions and grades: the service answers a value or a grade, as `predict` and the decision say."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import pytest

from tests.serve.conftest import make_home, panel_of, upload
from tests.serve.test_answers import predicted

pytestmark = pytest.mark.extras
CASES = 60
EXPERIMENTS = {
    "exp101": """
from heldout.tasks import Regress2D


class Exp101(Regress2D):
    dataset = "ages"
    source = "table"
    source_options = {"targets": "age"}
    image_size = (32, 32)
    encoder = "resnet10t"
    epochs = 4
    fold_count = 2
    near_duplicates = False
""",
    "exp102": """
from heldout.tasks import Classify2D


class Exp102(Classify2D):
    dataset = "grades"
    source = "table"
    source_options = {"labels": "grade_0, grade_1, grade_2", "exclusive": True}
    image_size = (32, 32)
    encoder = "resnet10t"
    loss = "ordinal"
    metric = "quadratic_kappa"
    epochs = 4
    fold_count = 2
    near_duplicates = False
""",
}
PROGRAM = """
from heldout.blend.freeze import freeze
from heldout.blend.search import blend
from heldout.config import load
from heldout.train.fit import run_experiment
for name, spec, calibrate, abstain in (("ages", "exp101", "linear", None), ("grades", "exp102", "none", 0.45)):
    config = load(spec)
    run_experiment(config, [0, 1], [config.seeds[0]])
    blend([config.spec], name, sampler="equal", trials=1, calibrate=calibrate)
    freeze(name, abstain)
"""


@pytest.fixture(scope="module")
def numbers_home(tmp_path_factory):
    """A project and home with a regression and a classification into grades: discs that grow with age."""
    home = tmp_path_factory.mktemp("numbers")
    random = np.random.default_rng(0)
    tables = {"ages": ["id,path,age"], "grades": ["id,path,grade_0,grade_1,grade_2"]}
    for number, age in enumerate(random.uniform(12, 220, CASES).round()):
        y, x = np.ogrid[:32, :32]
        picture = random.normal(60, 8, (32, 32))
        picture[(y - 16) ** 2 + (x - 16) ** 2 < (age / 15) ** 2] += 120
        grade = int(np.digitize(age, (80, 150)))
        labels = {"ages": f"{age:g}", "grades": ",".join(str(int(grade == k)) for k in range(3))}
        for name, rows in tables.items():
            (home / "input" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(home / "input" / name / f"{number:03d}.png"), picture.clip(0, 255).astype(np.uint8))
            rows.append(f"{number:03d},{number:03d}.png,{labels[name]}")
    for name, rows in tables.items():
        (home / "input" / name / "train.csv").write_text("\n".join(rows) + "\n")
    return make_home(home, {name: f'"""Of a test."""\n{text}' for name, text in EXPERIMENTS.items()}, PROGRAM)


@pytest.fixture(scope="module")
def numbers_server(serve_module, numbers_home):
    return serve_module("ages", "grades", HELDOUT_HOME=str(numbers_home), HELDOUT_PROJECT=str(numbers_home))


@pytest.fixture(scope="module")
def disc(numbers_home):
    return (numbers_home / "input" / "ages" / "003.png").read_bytes()


def _post(server, path, content, **options):
    return httpx.post(f"{server.url}{path}", files={"file": content}, params=options, timeout=60)


@pytest.mark.parametrize("path", ["/classify", "/v1/predict"])
def test_a_regression_answers_the_number_of_predict(numbers_server, numbers_home, tmp_path, disc, path):
    row, _ = predicted(numbers_home, tmp_path, "ages", "a.png", disc)
    found = _post(numbers_server, path, disc, model="ages").json()
    assert f"{found['values']['age']:.6f}" == row["p_age"]
    assert found["values"]["age"] != found["uncalibrated_values"]["age"]  # a line was fitted
    assert "prediction" not in found
    assert found["decision"] == "ages"


def test_a_batch_of_numbers(numbers_server, disc):
    answer = httpx.post(
        f"{numbers_server.url}/classify/batch", files=[("files", disc)] * 3, params={"model": "ages"}, timeout=60
    )
    assert [one["values"].keys() for one in answer.json()["results"]] == [{"age"}] * 3


def test_grades_are_those_of_the_cut_points(numbers_server, numbers_home):
    cuts = [*httpx.get(f"{numbers_server.url}/model/info", params={"model": "grades"}).json()["thresholds"].values()]
    seen = set()
    for path in sorted((numbers_home / "input" / "grades").glob("*.png"))[:20]:
        found = _post(numbers_server, "/classify", path.read_bytes(), model="grades").json()
        probabilities = [*found["probabilities"].values()]
        level = round(255 * (probabilities[1] + 2 * probabilities[2]) / sum(probabilities) / 2)
        assert found["grade"] == sum(level >= round(255 * cut) for cut in cuts[1:])
        assert found["prediction"] == f"grade_{found['grade']}"
        assert found["calibrated_confidence"] == probabilities[found["grade"]]
        seen.add(found["grade"])
    assert len(seen) > 1


@pytest.mark.parametrize("path", ["/classify/gradcam", "/segment", "/multitask", "/segment/uncertainty"])
def test_what_numbers_do_not_do_names_what_they_do(numbers_server, disc, path):
    answer = _post(numbers_server, path, disc, model="ages")
    assert answer.status_code == 409
    assert answer.json()["detail"] == "ages predicts numbers: ask /classify"
    stack = httpx.post(
        f"{numbers_server.url}/patient/analyze_stack", files=[("files", disc)] * 2, params={"model": "ages"}
    )
    assert stack.status_code == 409
    assert "ask /classify" in stack.json()["detail"]


def test_a_stack_says_which_of_its_slices_are_left_to_people_or_unlike(numbers_server, numbers_home, disc):
    def ask(pictures):
        files = [("files", one) for one in pictures]
        options = {"model": "grades"}
        return httpx.post(f"{numbers_server.url}/patient/analyze_stack", files=files, params=options, timeout=60).json()

    contents = [path.read_bytes() for path in sorted((numbers_home / "input" / "grades").glob("*.png"))[:20]]
    alone = [_post(numbers_server, "/classify", one, model="grades").json() for one in contents]
    left = [k for k, one in enumerate(alone) if one["abstain"]]
    assert 0 < len(left) < 20
    before = httpx.get(f"{numbers_server.url}/v1/drift", params={"model": "grades"}).json()["inputs"]
    found = ask(contents)
    assert found["abstain"] is True
    assert found["abstain_reason"].startswith(f"{len(left)} of 20 slices are left to people; slice {left[0] + 1}: ")
    assert found["in_distribution"] is all(one["in_distribution"] for one in alone)
    assert httpx.get(f"{numbers_server.url}/v1/drift", params={"model": "grades"}).json()["inputs"] == before + 1
    answered = ask([one for k, one in enumerate(contents) if k not in left])
    assert (answered["abstain"], answered["abstain_reason"]) == (False, None)
    pixels = cv2.imdecode(np.frombuffer(disc, np.uint8), cv2.IMREAD_GRAYSCALE)
    odd = ask([*contents[:3], cv2.imencode(".png", 255 - pixels)[1].tobytes()])
    assert odd["in_distribution"] is False
    assert odd["warnings"][0].startswith("1 of 4 slices are unlike the training images; slice 4: ")


def test_numbers_are_described_and_counted_without_a_class(numbers_server, disc):
    _post(numbers_server, "/classify", disc, model="ages")
    info = httpx.get(f"{numbers_server.url}/model/info", params={"model": "ages"}).json()
    assert (info["kind"], info["calibration"], info["thresholds"]) == ("regression", "linear", {})
    metrics = httpx.get(f"{numbers_server.url}/metrics").text
    assert 'heldout_predicted_total{decision="ages"' not in metrics
    assert 'heldout_inputs_total{decision="ages"}' in metrics


def test_a_case_that_is_left_to_people_is_left_by_predict_too(numbers_server, numbers_home, tmp_path):
    info = httpx.get(f"{numbers_server.url}/model/info", params={"model": "grades"}).json()
    assert info["abstention"]["risk"] == 0.45
    assert 0 < info["abstention"]["coverage"] <= 1
    cut, seen = info["abstention"]["cut"], set()
    for number, path in enumerate(sorted((numbers_home / "input" / "grades").glob("*.png"))[:20]):
        found = _post(numbers_server, "/classify", path.read_bytes(), model="grades").json()
        p = np.array([*found["probabilities"].values()])
        entropy = -(p * np.log(p)).sum()
        assert found["abstain"] == (entropy > cut)
        assert bool(found["abstain_reason"]) == found["abstain"]
        seen.add(found["abstain"])
        if number == 0:
            row, _ = predicted(numbers_home, tmp_path, "grades", "a.png", path.read_bytes())
            assert row["abstain"] == (found["abstain_reason"] or "")
    assert _post(numbers_server, "/classify", path.read_bytes(), model="ages").json()["abstain"] is None


def test_features_of_a_network_tell_another_kind_of_picture(numbers_server, disc):
    info = httpx.get(f"{numbers_server.url}/model/info", params={"model": "grades"}).json()
    assert info["network_features"]
    assert info["fingerprint"]["highest"]["distance of network features"] > 0
    usual = _post(numbers_server, "/classify", disc, model="grades").json()
    assert usual["in_distribution"] is True
    pixels = cv2.imdecode(np.frombuffer(disc, np.uint8), cv2.IMREAD_GRAYSCALE)
    stripes = np.where(np.arange(32)[:, None] % 8 < 4, pixels.max(), 0).repeat(32, 1).astype(np.uint8)
    other = cv2.imencode(".png", stripes)[1].tobytes()
    found = _post(numbers_server, "/classify", other, model="grades").json()
    assert found["in_distribution"] is False
    assert any("distance of network features is" in text for text in found["warnings"])


def test_the_page_shows_numbers_grades_and_which_cases_are_left_to_people(
    numbers_server, open_page, numbers_home, disc
):
    page = open_page(numbers_server)
    panel = panel_of(page, "Classification")
    page.locator("#decision").select_option("ages")
    panel.locator("#classify-file").set_input_files(upload("a.png", disc))
    panel.get_by_text("Predicted numbers").wait_for(timeout=60_000)
    value = _post(numbers_server, "/classify", disc, model="ages").json()["values"]["age"]
    assert float(panel.locator("td.number").first.text_content()) == pytest.approx(value, rel=1e-3)
    page.locator("#decision").select_option("grades")
    panel.locator("#classify-file").set_input_files(upload("a.png", disc))
    grade = _post(numbers_server, "/classify", disc, model="grades").json()["grade"]
    panel.get_by_text(f"{grade} of 0 to 2").wait_for(timeout=60_000)

    panel = panel_of(page, "Batch")
    page.locator("#decision").select_option("grades")
    contents = [path.read_bytes() for path in sorted((numbers_home / "input" / "grades").glob("*.png"))[:40]]
    panel.locator("#batch-files").set_input_files([upload(f"{k}.png", one) for k, one in enumerate(contents)])
    panel.get_by_text("40 of 40").wait_for(timeout=120_000)
    answers = [_post(numbers_server, "/classify", one, model="grades").json()["abstain"] for one in contents]
    assert any(answers), "the cut leaves none of these cases to people"
    assert panel.get_by_text("left to people").count() == sum(answers)
