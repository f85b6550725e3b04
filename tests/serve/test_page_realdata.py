"""The review page with real MRI, X-ray, NIfTI and DICOM files, on a desktop and on a tablet."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from tests.serve.conftest import panel_of, upload

pytestmark = [pytest.mark.extras, pytest.mark.realdata]
PICTURES = ("brain_mri_images_for_brain_tumor_detection/yes/Y15.jpg", "FracAtlas/images/Non_fractured/IMG0000519.jpg")
VOLUMES = ("Task04_Hippocampus/imagesTr/hippocampus_378.nii.gz", "dicom/11_HCropVolume")


def content_of(name: str) -> bytes:
    """A file of the public datasets, or a folder of DICOM files as a zip archive."""
    place = Path(os.environ["HELDOUT_DATA"]) / name
    if place.is_file():
        return place.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(place.iterdir()):
            archive.writestr(path.name, path.read_bytes())
    return packed.getvalue()


@pytest.fixture(params=[1280, 768])
def page(open_page, server, request):
    opened = open_page(server, request.param)
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"


@pytest.mark.parametrize("name", PICTURES)
def test_a_real_image_is_classified_segmented_and_listed(page, name):
    file = upload(Path(name).name, content_of(name))
    panel = panel_of(page, "Classification")
    page.locator("#decision").select_option("labels")
    panel.locator("#classify-file").set_input_files(file)
    panel.get_by_role("img", name="Image with Grad-CAM").wait_for(timeout=60_000)
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("heads")
    panel.locator("#segment-file").set_input_files(file)
    panel.get_by_text("Mask as sealed").wait_for(timeout=60_000)
    panel = panel_of(page, "Batch")
    panel.locator("#batch-files").set_input_files([file, upload("again.jpg", file["buffer"])])
    panel.get_by_text("2 of 2").wait_for(timeout=60_000)
    assert panel.locator("img.thumb").count() == 2


@pytest.mark.parametrize("name", VOLUMES)
def test_a_real_volume_is_drawn_reviewed_and_measured(page, name):
    file = upload(Path(name).name + ("" if name.endswith(".gz") else ".zip"), content_of(name))
    panel = panel_of(page, "Segmentation")
    page.locator("#decision").select_option("volumes")
    panel.locator("#segment-file").set_input_files(file)
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
    panel.get_by_role("button", name="Reject").click()
    panel.get_by_text("Saved as version").wait_for(timeout=60_000)
    panel = panel_of(page, "Patient")
    panel.locator("#patient-files").set_input_files(file)
    panel.get_by_role("img", name="voxels along the depth").wait_for(timeout=60_000)
    panel.locator("canvas[data-overlays='1']").wait_for(timeout=60_000)
