"""The review page in a real browser: the main path of every tab, with real files and nothing from other hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serve.conftest import panel_of, upload

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


def test_the_model_shows_its_seal_and_members(page, server):
    import httpx

    panel = panel_of(page, "Model")
    info = httpx.get(f"{server.url}/model/info", params={"model": "heads"}).json()
    panel.get_by_text(info["seal"]).wait_for()
    assert panel.get_by_text(info["metric"]).first.is_visible()


def test_keys_change_tabs_and_theme(page):
    page.keyboard.press("5")
    assert page.locator("#panel-Model").is_visible()
    before = page.locator("html").get_attribute("data-theme")
    page.keyboard.press("d")
    page.wait_for_function("before => document.documentElement.dataset.theme !== before", arg=before)
