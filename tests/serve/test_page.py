"""The review page in a real browser: the main path of every tab, with real files and nothing from other hosts."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import nibabel
import numpy as np
import pytest

from tests.serve.conftest import REPOSITORY, as_array, panel_of, until, upload

pytestmark = pytest.mark.extras


@pytest.fixture
def page(open_page, server):
    """The page of the service that most tests ask."""
    return open_page(server)


def test_classification_shows_class_probability_and_grad_cam(page, picture):
    panel = panel_of(page, "Classification")
    panel.locator("#classify-file").set_input_files(upload("a.png", picture))
    panel.get_by_role("img", name="Image with Grad-CAM").wait_for(timeout=60_000)
    assert panel.get_by_text("Calibrated probability").is_visible()
    panel.locator("#target").select_option("small")
    panel.get_by_role("img", name="Image with Grad-CAM of small").wait_for(timeout=60_000)


def test_a_class_is_accepted_or_rejected(page, served_home, picture):
    panel = panel_of(page, "Classification")
    panel.locator("#classify-file").set_input_files(upload("a.png", picture))
    panel.get_by_label("Comment").fill("both lesions are small")
    panel.get_by_role("button", name="Reject").click()
    panel.get_by_text("Saved as version").wait_for(timeout=60_000)
    saved = [path.read_text() for path in served_home.glob("working/corrections/*/*/v*/correction.json")]
    assert any('"rejected"' in text and "both lesions are small" in text for text in saved)


def test_classification_of_a_volume_shows_grad_cam_in_it(page, volume):
    panel = panel_of(page, "Classification")
    page.locator("#decision").select_option("scans")
    panel.locator("#classify-file").set_input_files(upload("a.nii.gz", volume))
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    assert panel.get_by_text("Calibrated probability").is_visible()


def test_segmentation_of_a_picture_follows_the_threshold(page, picture):
    panel = panel_of(page, "Segmentation")
    panel.locator("#segment-file").set_input_files(upload("a.png", picture))
    panel.get_by_text("Mask as sealed").wait_for(timeout=60_000)
    panel.locator("#threshold").fill("0")
    panel.get_by_text("Mask at 0.00, not as sealed").wait_for()
    panel.get_by_role("button", name="Show uncertainty").click()
    panel.get_by_text("epistemic").wait_for(timeout=60_000)
    panel.locator("#truth-file").set_input_files(upload("truth.png", picture))
    panel.get_by_text("Dice with the true mask").wait_for()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export as one HTML file").click()
    text = Path(download.value.path()).read_text()
    assert "data:image/png;base64" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_volume_is_drawn_with_its_mask_and_corrected(page, volume):
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(upload("a.nii.gz", volume))
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    assert panel.get_by_text("ml", exact=False).first.is_visible()
    panel.get_by_role("button", name="Paint").click()
    box = panel.locator(".volume canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.28, box["y"] + box["height"] * 0.27, steps=5)
    page.mouse.up()
    panel.get_by_role("button", name="Save correction").click()
    panel.get_by_text("of case").wait_for(timeout=60_000)


def test_a_volume_has_uncertainty_errors_dice_and_an_export(page, server, volume):
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(upload("a.nii.gz", volume))
    canvas = panel.locator(".volume canvas")
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    plain = canvas.screenshot()
    panel.get_by_role("button", name="Show uncertainty").click()
    panel.get_by_text("epistemic").wait_for(timeout=60_000)
    panel.locator("canvas[data-overlays='2']").wait_for(timeout=60_000)
    assert canvas.screenshot() != plain

    answer = httpx.post(f"{server.url}/segment", files={"file": volume}, params={"model": "volumes"}, timeout=60).json()
    mask = gzip.decompress(base64.b64decode(answer["files"]["mask.nii.gz"]))
    panel.locator("#truth-file").set_input_files(upload("truth.nii", mask))
    panel.get_by_text("Dice with the true mask 1.0000").wait_for(timeout=30_000)
    image = nibabel.Nifti1Image.from_bytes(mask)
    labels = np.asarray(image.dataobj) > 0
    half = labels.copy()
    half[: labels.shape[0] // 2] = False
    panel.locator("#truth-file").set_input_files(
        upload("half.nii", nibabel.Nifti1Image(half.astype(np.int16), image.affine).to_bytes())
    )
    dice = 2 * half.sum() / (labels.sum() + half.sum())
    panel.get_by_text(f"Dice with the true mask {dice:.4f}").wait_for(timeout=30_000)
    moved = nibabel.Nifti1Image(half.astype(np.uint8), np.eye(4))
    panel.locator("#truth-file").set_input_files(upload("moved.nii", moved.to_bytes()))
    panel.get_by_text("lies elsewhere than the volume").wait_for()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export as one HTML file").click()
    text = Path(download.value.path()).read_text()
    assert text.count("data:image/png;base64") == 2
    assert all(f"<td>{count}</td>" in text for count in answer["areas"].values())
    assert f"Dice with the true mask: {dice:.4f}" in text


def test_areas_at_a_threshold_are_those_of_the_service(page, server, picture):
    panel = panel_of(page, "Segmentation")
    panel.locator("#segment-file").set_input_files(upload("a.png", picture))
    panel.get_by_text("Mask as sealed").wait_for(timeout=60_000)
    panel.locator("#threshold").fill("0.3")  # level 76.5, which the service rounds to the even 76
    panel.get_by_text("Mask at 0.30, not as sealed").wait_for()
    options = {"model": "heads", "threshold": 0.3}
    areas = httpx.post(f"{server.url}/segment", files={"file": picture}, params=options, timeout=60).json()["areas"]
    shown = panel.locator("tbody tr td:nth-child(3)").all_text_contents()
    assert [int(text.replace(",", "")) for text in shown] == list(areas.values())


def test_only_the_mask_that_was_sealed_can_be_accepted(page, volume, picture):
    panel = panel_of(page, "Segmentation")
    accept = panel.get_by_role("button", name="Accept")
    panel.locator("#segment-file").set_input_files(upload("a.png", picture))
    panel.get_by_text("Its classes overlap").wait_for(timeout=60_000)
    assert panel.get_by_role("button", name="Paint").is_disabled()
    accept.click()
    panel.get_by_text("Saved as version").wait_for(timeout=60_000)
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(upload("a.nii.gz", volume))
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    assert accept.is_enabled()
    panel.get_by_role("button", name="Paint").click()
    panel.get_by_text("A painted mask is saved as a correction.").wait_for()
    assert accept.is_disabled()
    panel.get_by_role("button", name="Discard").click()
    accept.click()
    panel.get_by_text("Saved as version").wait_for(timeout=60_000)


def test_the_answer_of_a_file_that_was_replaced_is_not_shown(page, picture):
    held = []
    page.route("**/segment", lambda route: held.append(route) if not held else route.continue_())
    panel = panel_of(page, "Segmentation")
    panel.locator("#segment-file").set_input_files(upload("first.png", picture))
    page.wait_for_timeout(500)
    other = cv2.imencode(".png", np.full((40, 24), 90, np.uint8))[1].tobytes()
    panel.locator("#segment-file").set_input_files(upload("second.png", other))
    picture_of = panel.get_by_role("img", name="Image with the mask")
    picture_of.wait_for(timeout=60_000)
    held[0].continue_()
    page.wait_for_timeout(3000)
    assert picture_of.evaluate("one => [one.width, one.height]") == [24, 40]
    assert not panel.locator(".busy").is_visible()


def test_a_case_that_is_refused_does_not_leave_the_one_before_on_the_screen(browser, server, picture, volume):
    page = browser.new_page(viewport={"width": 1280, "height": 800})  # a refusal is an error of the console
    page.goto(server.url)
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(upload("a.nii.gz", volume))
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    assert as_array(panel.locator(".volume canvas").screenshot()).mean() > 40
    panel.locator("#segment-file").set_input_files(upload("b.zip", b"no archive"))
    panel.get_by_text("is not PNG").wait_for(timeout=30_000)
    assert panel.locator("canvas[data-loaded='0'][data-overlays='0']").is_visible()
    assert as_array(panel.locator(".volume canvas").screenshot())[..., :3].mean() < 40

    panel = panel_of(page, "Classification")
    page.locator("#decision").select_option("heads")
    panel.locator("#classify-file").set_input_files(upload("a.png", picture))
    panel.get_by_text("Calibrated probability").wait_for(timeout=60_000)
    panel.locator("#classify-file").set_input_files(upload("b.png", b"no picture"))
    panel.get_by_text("is not PNG").wait_for(timeout=30_000)
    assert not panel.get_by_text("Calibrated probability").is_visible()
    page.close()


def test_a_batch_of_volumes_shows_what_they_are(page, volume):
    panel = panel_of(page, "Batch")
    page.locator("#decision").select_option("volumes")
    panel.locator("#batch-files").set_input_files([upload("a.nii.gz", volume), upload("b.nii.gz", volume)])
    panel.get_by_text("2 of 2").wait_for(timeout=60_000)
    thumbs = panel.locator("img.thumb")
    assert thumbs.count() == 2
    assert thumbs.first.evaluate("one => one.naturalWidth") == 32


def test_a_volume_is_on_the_screen_before_its_answer_and_in_3d_where_asked(page, volume):
    held = []
    page.route("**/segment", lambda route: held.append(route))
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(upload("a.nii.gz", volume))
    canvas = panel.locator("canvas[data-loaded='1']")
    canvas.wait_for(timeout=60_000)
    assert canvas.get_attribute("data-overlays") == "0"
    [request] = held
    request.continue_()
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    flat = canvas.screenshot()
    solid = panel.get_by_role("button", name="3D")
    assert solid.get_attribute("aria-pressed") == "false"  # of a browser that draws without a GPU
    solid.click()
    assert canvas.screenshot() != flat


def test_a_batch_becomes_a_table_that_sorts_and_downloads(page, picture):
    panel = panel_of(page, "Batch")
    files = [upload("b.png", picture), upload("notes.txt", b"no image"), upload("a.png", picture)]
    panel.locator("#batch-files").set_input_files(files)
    panel.get_by_text("3 of 3").wait_for(timeout=60_000)
    panel.get_by_text("is not PNG").wait_for()
    panel.get_by_role("button", name="File", exact=True).click()
    names = panel.locator("#batch-table tbody td:nth-child(2)").all_text_contents()
    assert names == ["a.png", "b.png", "notes.txt"]
    with page.expect_download() as download:
        panel.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "name,prediction,p_small,p_large,abstain,error"
    assert len(lines) == 4


def test_a_patient_has_a_curve_to_jump_along(page, volume):
    panel = panel_of(page, "Patient")
    panel.locator("#patient-files").set_input_files(upload("a.nii.gz", volume))
    curve = panel.get_by_role("img", name="voxels along the depth")
    curve.wait_for(timeout=60_000)
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    curve.click(position={"x": curve.bounding_box()["width"] * 0.98, "y": 40})
    panel.get_by_text("20 of 20").wait_for()


def test_a_patient_as_pictures_shows_its_masks_slice_by_slice(page, server, served_home):
    paths = sorted(served_home.glob("input/served/images/*.png"))[:11]
    answers = [
        httpx.post(
            f"{server.url}/segment", files={"file": path.read_bytes()}, data={"model": "heads"}, timeout=60
        ).json()
        for path in paths
    ]
    marked = [
        np.any([as_array(base64.b64decode(text)) for name, text in one["files"].items() if "mask" in name], axis=0)
        for one in answers
    ]
    assert {mask.any() for mask in marked} == {True}
    panel = panel_of(page, "Patient")
    page.locator("#decision").select_option("heads")
    files = [upload(f"slice{number}.png", path.read_bytes()) for number, path in enumerate(paths, start=1)]
    panel.locator("#patient-files").set_input_files(sorted(files, key=lambda one: one["name"]))  # 10 before 2
    curve = panel.get_by_role("img", name="pixels along the depth")
    curve.wait_for(timeout=60_000)
    assert "head" not in curve.text_content()
    for number in (1, 2, 10, 11):
        panel.locator("#slice").fill(str(number - 1))
        shown = panel.get_by_role("img", name=f"Slice {number}", exact=True)
        shown.wait_for()

        def is_marked(shown=shown, mask=marked[number - 1]):
            data = shown.evaluate("one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]")
            colored = np.ptp(np.reshape(data, (*mask.shape, 4))[..., :3], axis=-1) > 0
            return (colored == mask).mean() > 0.99  # two colors over each other may give a gray

        until(is_marked, server, 10)  # it is drawn just after it has its name
    curve.click(position={"x": curve.bounding_box()["width"] * 0.98, "y": 40})
    panel.get_by_text("11 of 11").wait_for()


def test_a_volume_of_a_decision_on_images_is_drawn_with_its_mask(page, volume):
    panel = panel_of(page, "Patient")
    page.locator("#decision").select_option("heads")
    panel.locator("#patient-files").set_input_files(upload("a.nii.gz", volume))
    panel.get_by_role("img", name="voxels along the depth").wait_for(timeout=60_000)
    panel.locator("canvas[data-overlays='2']").wait_for(timeout=60_000)


def test_the_model_shows_its_seal_and_members(page, server):
    panel = panel_of(page, "Model")
    info = httpx.get(f"{server.url}/model/info", params={"model": "heads"}).json()
    panel.get_by_text(info["seal"]).wait_for()
    assert panel.get_by_text(info["metric"]).first.is_visible()
    panel.get_by_role("heading", name="Drift").wait_for()


def test_a_leaderboard_opens_from_the_model(page, server, served_home):
    panel = panel_of(page, "Model")
    panel.get_by_text("No leaderboard here").wait_for()
    board = served_home / "working" / "leaderboard.html"
    words = [sys.executable, str(REPOSITORY / "run.py"), "leaderboard"]
    environment = os.environ | {"HELDOUT_HOME": str(served_home)}
    subprocess.run(words, check=True, capture_output=True, env=environment)
    try:
        page.reload()
        panel = panel_of(page, "Model")
        with page.context.expect_page() as opened:
            panel.get_by_role("link", name="Leaderboard").click()
        opened.value.get_by_role("heading", name="Leaderboard").first.wait_for()
        opened.value.get_by_role("columnheader").first.click()  # sorts by a script of its own
        opened.value.close()
    finally:
        board.unlink()


def test_drift_that_is_not_known_is_said(browser, server):
    page = browser.new_page()  # whose console has an error, as the browser writes one for what is not answered
    page.route("**/v1/drift*", lambda route: route.abort())
    page.goto(server.url)
    panel = panel_of(page, "Model")
    panel.get_by_text("The drift is not known").wait_for()
    page.close()


def test_keys_change_tabs_and_theme(page):
    page.keyboard.press("5")
    assert page.locator("#panel-Model").is_visible()
    before = page.locator("html").get_attribute("data-theme")
    page.keyboard.press("d")
    page.wait_for_function("before => document.documentElement.dataset.theme !== before", arg=before)
