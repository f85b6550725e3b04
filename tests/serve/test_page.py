"""The review page in a real browser: the main path of every tab, with real files and nothing from other hosts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from heldout.files import REPOSITORY

pytestmark = pytest.mark.extras

PAGE = REPOSITORY / "src" / "heldout" / "serve" / "page" / "dist"

_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if _BROWSER is None:
        pytest.skip("no chromium is installed")
    if not (PAGE / "index.html").is_file():
        pytest.skip("the page was not built: make page")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=_BROWSER, args=_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server, request):
    """The page at 1280 px; fails on an error in its console and on any request that leaves the host."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    local = (server.url, "blob:", "data:")
    opened.on(
        "request", lambda one: None if one.url.startswith(local) else problems.append(f"left the host: {one.url}")
    )
    opened.goto(server.url)
    opened.get_by_role("tab", name="Model").wait_for()
    yield opened
    if folder := os.environ.get("SCREENSHOTS"):
        opened.screenshot(path=Path(folder) / f"{request.node.name}.png", full_page=True)
    opened.close()
    assert problems == []


def _file(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def _panel(page, name: str):
    page.get_by_role("tab", name=name).click()
    return page.locator(f"#panel-{name}")


def test_classification_shows_class_probability_and_grad_cam(page, picture):
    panel = _panel(page, "Classification")
    panel.locator("#classify-file").set_input_files(_file("a.png", picture))
    panel.get_by_role("img", name="Image with Grad-CAM").wait_for(timeout=60_000)
    assert panel.get_by_text("Calibrated probability").is_visible()
    panel.locator("#target").select_option("small")
    panel.get_by_role("img", name="Image with Grad-CAM of small").wait_for(timeout=60_000)


def test_segmentation_of_a_picture_follows_the_threshold(page, picture):
    panel = _panel(page, "Segmentation")
    panel.locator("#segment-file").set_input_files(_file("a.png", picture))
    panel.get_by_text("Mask as sealed").wait_for(timeout=60_000)
    panel.locator("#threshold").fill("0")
    panel.get_by_text("Mask at 0.00, not as sealed").wait_for()
    panel.get_by_role("button", name="Show uncertainty").click()
    panel.get_by_text("epistemic").wait_for(timeout=60_000)
    panel.locator("#truth-file").set_input_files(_file("truth.png", picture))
    panel.get_by_text("Dice with the true mask").wait_for()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export as one HTML file").click()
    text = Path(download.value.path()).read_text()
    assert "data:image/png;base64" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_volume_is_drawn_with_its_mask_and_corrected(page, volume):
    panel = _panel(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(_file("a.nii.gz", volume))
    panel.locator("canvas[data-loaded='1']").wait_for(timeout=60_000)
    assert panel.get_by_text("ml", exact=False).first.is_visible()
    panel.get_by_role("button", name="Paint").click()
    box = panel.locator(".volume canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.28, box["y"] + box["height"] * 0.27, steps=5)
    page.mouse.up()
    panel.get_by_role("button", name="Save correction").click()
    panel.get_by_text("of case").wait_for(timeout=60_000)


def test_a_batch_becomes_a_table_that_sorts_and_downloads(page, picture):
    panel = _panel(page, "Batch")
    files = [_file("b.png", picture), _file("notes.txt", b"no image"), _file("a.png", picture)]
    panel.locator("#batch-files").set_input_files(files)
    panel.get_by_text("3 of 3").wait_for(timeout=60_000)
    panel.get_by_text("is not PNG").wait_for()
    panel.get_by_role("button", name="File", exact=True).click()
    names = panel.locator("#batch-table tbody td:nth-child(2)").all_text_contents()
    assert names == ["a.png", "b.png", "notes.txt"]
    with page.expect_download() as download:
        panel.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "name,prediction,p_small,p_large,error"
    assert len(lines) == 4


def test_a_patient_has_a_curve_to_jump_along(page, volume):
    panel = _panel(page, "Patient")
    panel.locator("#patient-files").set_input_files(_file("a.nii.gz", volume))
    curve = panel.get_by_role("img", name="voxels along the depth")
    curve.wait_for(timeout=60_000)
    panel.locator("canvas[data-loaded='1']").wait_for(timeout=60_000)
    curve.click(position={"x": curve.bounding_box()["width"] * 0.98, "y": 40})
    panel.get_by_text("20 of 20").wait_for()


def test_the_model_shows_its_seal_and_members(page, server):
    import httpx

    panel = _panel(page, "Model")
    info = httpx.get(f"{server.url}/model/info", params={"model": "heads"}).json()
    panel.get_by_text(info["seal"]).wait_for()
    assert panel.get_by_text(info["metric"]).first.is_visible()


def test_keys_change_tabs_and_theme(page):
    page.keyboard.press("5")
    assert page.locator("#panel-Model").is_visible()
    before = page.locator("html").get_attribute("data-theme")
    page.keyboard.press("d")
    page.wait_for_function("before => document.documentElement.dataset.theme !== before", arg=before)
