"""The review page's first view of a volume of 240 x 240 x 155 voxels with its mask, from the file to the drawn overlay.

Chromium draws without a GPU, on the same cores as the service and its network. Needs BraTS volumes below
``$HELDOUT_DATA``, chromium, playwright and the built page (``make page``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from record import Measurement, record
from service.programs import make_decisions, service

DECISION = "volumes"
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
        make_decisions(home, [DECISION])
        cores = os.sched_getaffinity(0)
        with service(home, DECISION, log=Path(name) / "log", cores=cores, OMP_NUM_THREADS=str(len(cores))) as running:
            views, answers = zip(*(view(running.url, volume) for _ in range(given.rounds)), strict=True)
    return record(
        "first_view",
        [
            Measurement("file to drawn overlay, median", statistics.median(views), "s", 3),
            Measurement("slowest", max(views), "s"),
            Measurement("of that the answer with mask and volumes, median", statistics.median(answers), "s"),
        ],
        f"{volume.name}, {given.rounds} turns, a new page in each; residual U-Net of exp003 at 2 mm",
    )


def view(url: str, volume: Path) -> tuple[float, float]:
    """Seconds until the overlay is drawn, and those that the service took to answer."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.get_by_role("tab", name="Segmentation").click()
        panel = page.locator("#panel-Segmentation")
        answered: list[float] = []
        page.on("requestfinished", lambda one: answered.append(time.perf_counter()) if "/segment" in one.url else None)
        begun = time.perf_counter()
        panel.locator("#segment-file").set_input_files(volume)
        panel.locator("canvas[data-overlays='1']").wait_for(timeout=180_000)
        # the next frame: the overlay is on the screen
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - begun
        browser.close()
    return seconds, answered[0] - begun


if __name__ == "__main__":
    sys.exit(main())
