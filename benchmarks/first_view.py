"""The review page's first view of a volume of 240 x 240 x 155 voxels with its mask, from the file to the drawn overlay.

The page is open when the file is chosen. Chromium draws without a GPU, on the cores of the service and its network.
Needs BraTS volumes below ``$HELDOUT_DATA``, chromium, playwright and the built page (``make page``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from record import Measurement, record
from service.programs import make_decisions, service

DECISIONS = {"volumes": "32 x 32 x 16", "large": "64 x 64 x 64"}  # and the windows of their networks
FLAGS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="where the decision is kept; by default a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    data = Path(os.environ["HELDOUT_DATA"]) / "brats_samples"
    volume = sorted(data.rglob("*_flair.nii.gz"))[0]
    with tempfile.TemporaryDirectory() as name:
        home = given.home or Path(name) / "home"
        os.environ["HELDOUT_HOME"] = str(home)
        os.environ.pop("HELDOUT_DATA")
        make_decisions(home, DECISIONS)
        cores = os.sched_getaffinity(0)
        found: list[Measurement] = []
        for decision, window in DECISIONS.items():
            with service(
                home, decision, log=Path(name) / "log", cores=cores, OMP_NUM_THREADS=str(len(cores))
            ) as running:
                found += measurements(window, [view(running.url, volume) for _ in range(given.rounds)])
    urgent = "real-time" if os.sched_getscheduler(0) != os.SCHED_OTHER else "usual"
    conditions = f"{urgent} priority beside other programs (load {os.getloadavg()[0]:.0f})"
    return record(
        "first_view",
        found,
        f"{volume.name}, medians of {given.rounds} turns, a new page in each; residual U-Net of exp003 at 2 mm, "
        f"windows that overlap by half; {conditions}",
    )


def measurements(window: str, views: Sequence[tuple[float, float, float]]) -> list[Measurement]:
    """What was seen with a network that reads such windows."""
    images, answers, overlays = zip(*views, strict=True)
    drawing = [overlay - answer for _, answer, overlay in views]
    return [
        Measurement(f"windows of {window}: file to the image on the screen", statistics.median(images), "s"),
        Measurement(
            f"windows of {window}: file to image and overlay on the screen", statistics.median(overlays), "s", 3
        ),
        Measurement(f"windows of {window}: file to the answer with mask and volumes", statistics.median(answers), "s"),
        Measurement(f"windows of {window}: answer to the overlay on the screen", statistics.median(drawing), "s"),
    ]


def view(url: str, volume: Path) -> tuple[float, float, float]:
    """Seconds from the choice of the file until the image is drawn, the service has answered, the overlay is drawn."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        panel = page.locator("#panel-Segmentation")
        panel.locator("canvas[data-attached='1']").wait_for()
        answered: list[float] = []
        page.on("requestfinished", lambda one: answered.append(time.perf_counter()) if "/segment" in one.url else None)

        def drawn(state: str) -> float:
            panel.locator(f"canvas[{state}]").wait_for(timeout=180_000)
            # the frame after the next: what was drawn is on the screen
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            return time.perf_counter() - begun

        begun = time.perf_counter()
        panel.locator("#segment-file").set_input_files(volume)
        image, overlay = drawn("data-loaded='1'"), drawn("data-overlays='1'")
        browser.close()
    return image, answered[0] - begun, overlay


if __name__ == "__main__":
    sys.exit(main())
