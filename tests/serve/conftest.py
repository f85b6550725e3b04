"""A real server over sealed decisions of very small networks: classes, two heads, volumes, classes of volumes."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
_SMALL = "'patients':20,'images_per_patient':1,'size':32"
SPECS = {
    "labels": f"exp004+dataset=served,fold_count=2,epochs=1,near_duplicates=False,source_options={{{_SMALL}}}",
    "heads": f"exp006+dataset=served,fold_count=2,epochs=3,near_duplicates=False,source_options={{{_SMALL}}}",
    "volumes": f"exp003+dataset=served3d,fold_count=2,epochs=1,near_duplicates=False,"
    f"source_options={{'dimensions':3,'exclusive':True,{_SMALL}}}",
    "scans": f"exp005+dataset=served3d,fold_count=2,epochs=1,near_duplicates=False,"
    f"source_options={{'dimensions':3,'exclusive':True,{_SMALL}}}",
}


@pytest.fixture(scope="session")
def served_home(tmp_path_factory) -> Path:
    """A home with the sealed decisions."""
    import torch

    from heldout.blend.freeze import freeze
    from heldout.blend.search import blend
    from heldout.config import load
    from heldout.train.fit import run_experiment

    folder, threads = tmp_path_factory.mktemp("served"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        for name, spec in SPECS.items():
            config = load(spec)
            run_experiment(config, [0, 1], [config.seeds[0]])
            blend([config.spec], name, sampler="equal", trials=1)
            freeze(name)
    torch.set_num_threads(threads)
    return folder


def make_home(home: Path, experiments: Mapping[str, str], program: str) -> Path:
    """A project and home of its own with experiments, in which a program ran that makes decisions of them."""
    (home / "exps").mkdir()
    (home / "run.py").write_bytes((REPOSITORY / "run.py").read_bytes())
    (home / "src").symlink_to(REPOSITORY / "src")
    for name, text in experiments.items():
        (home / "exps" / f"{name}.py").write_text(text)
    own = {"HELDOUT_HOME": str(home), "HELDOUT_PROJECT": str(home), "PYTHONPATH": str(REPOSITORY / "src")}
    environment = os.environ | own | {"OMP_NUM_THREADS": "1"}
    environment.pop("HELDOUT_DATA", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, done.stderr
    return home


@dataclass
class Server:
    """A running service."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def children(self) -> list[int]:
        """Process ids of its network processes."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [pid for pid in map(int, text.split()) if b"multiprocessing.spawn" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def serve_all(request, tmp_path_factory) -> Iterator[Serve]:
    """Starts services that end with the session: each takes about a gigabyte, so that these are few."""
    yield from _services(request, tmp_path_factory)


@pytest.fixture(scope="module")
def serve_module(request, tmp_path_factory) -> Iterator[Serve]:
    """Starts services that end with the module."""
    yield from _services(request, tmp_path_factory)


@pytest.fixture
def serve(request, tmp_path_factory) -> Iterator[Serve]:
    """Starts services that end with the test."""
    yield from _services(request, tmp_path_factory)


def _services(request, tmp_path_factory) -> Iterator[Serve]:
    import httpx

    started: list[Server] = []

    def start(*arguments: str, ready: bool = True, dotenv: str = "", **environment: str) -> Server:
        log = tmp_path_factory.mktemp("log") / "serve.log"
        (log.parent / ".env").write_text(dotenv)
        if "HELDOUT_HOME" not in environment:
            environment["HELDOUT_HOME"] = str(request.getfixturevalue("served_home"))
        settings = {"OMP_NUM_THREADS": "1", "TMPDIR": str(log.parent), **environment}
        project = Path(environment.get("HELDOUT_PROJECT", REPOSITORY))
        words = [sys.executable, str(project / "run.py"), "serve", *arguments, "--port", "0"]
        with open(log, "w") as handle:
            process = subprocess.Popen(
                words, env=os.environ | settings, stdout=handle, stderr=subprocess.STDOUT, text=True, cwd=log.parent
            )
        server = Server("", process, log)
        started.append(server)
        until = time.monotonic() + 300
        while time.monotonic() < until and process.poll() is None:
            if not server.url and (found := re.search(r"http://\S+:\d+", log.read_text())):
                server.url = found[0].rstrip(";")
            if server.url:
                try:
                    status = httpx.get(f"{server.url}/readyz").status_code
                except httpx.TransportError:
                    status = 0
                if status == 200 or not ready:
                    return server
            time.sleep(0.1)
        pytest.fail(f"the service did not start: {log.read_text()}")

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
    for server in started:
        server.process.wait(20)


@pytest.fixture(scope="session")
def server(serve_all) -> Server:
    """The service that most tests ask."""
    return serve_all("heads", "labels", "volumes", "scans")


@pytest.fixture(scope="session")
def picture(served_home) -> bytes:
    """An image of the dataset that the decisions were made on."""
    return sorted(served_home.glob("input/served/images/*.png"))[0].read_bytes()


@pytest.fixture(scope="session")
def volume() -> bytes:
    """A NIfTI file of 32 x 28 x 20 voxels of 1 x 1 x 2 mm, turned from left to right, with a bright ball."""
    import nibabel

    random = np.random.default_rng(4)
    array = random.normal(70, 15, (32, 28, 20)).astype(np.float32)
    array[12:20, 10:18, 8:12] += 120
    image = nibabel.Nifti1Image(array, np.diag([-1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 1)


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    """Address of an empty bucket on a server of this machine, which child processes find too."""
    s3fs = pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # of another test's server
    name = f"models-{port}"  # buckets outlive their server in this process
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
    yield f"s3://{name}"
    server.stop()


def as_array(png: bytes) -> np.ndarray:
    """The pixels of a PNG file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)))


PAGE = REPOSITORY / "src" / "heldout" / "serve" / "page" / "dist"
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, without a screen."""
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
def open_page(browser, request):
    """Opens the page of a service; fails on an error in its console and on requests that leave the host."""
    problems: list[str] = []
    pages = []

    def open_one(server: Server, width: int = 1280):
        opened = browser.new_page(viewport={"width": width, "height": 800})
        opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: problems.append(str(error)))
        local = (server.url, "blob:", "data:")
        opened.on(
            "request", lambda one: None if one.url.startswith(local) else problems.append(f"left the host: {one.url}")
        )
        opened.goto(server.url)
        opened.get_by_role("tab", name="Model").wait_for()
        pages.append(opened)
        return opened

    yield open_one
    for opened in pages:
        if folder := os.environ.get("SCREENSHOTS"):
            opened.screenshot(path=Path(folder) / f"{request.node.name}.png", full_page=True)
        opened.close()
    assert problems == []


def upload(name: str, content: bytes) -> dict:
    """A file as the browser is given it."""
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def panel_of(page, name: str):
    """A tab's panel, opened."""
    page.get_by_role("tab", name=name).click()
    return page.locator(f"#panel-{name}")


def until(happens: Callable[[], object], server: Server, seconds: float = 60) -> None:
    """Wait until something happens; the log of the service is shown where it does not."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, server.log.read_text()[-3000:]
        time.sleep(0.1)
