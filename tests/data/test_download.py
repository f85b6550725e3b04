"""Downloads from a real server on this machine, which behaves well or badly."""

import gzip
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from heldout.cli import run
from heldout.data import download as room
from heldout.data.download import download_dataset, download_missing, fetch, known_downloads
from heldout.data.sources.download import Download
from heldout.data.unpack import unpack
from heldout.errors import UserError
from heldout.files import REPOSITORY

NOISE = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


def archive(entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as handle:
        for name, data in entries.items():
            handle.writestr(name, data)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``content``.

    Attributes:
        cuts: Bytes after which each of the first answers is cut.
        ranges: Whether parts can be asked for.
        length: Whether the length is told.
        etag: Version of the content.
        asked: Range that each request asked for, or None.
    """

    content, cuts, ranges, length, etag, status = b"", (), True, True, '"one"', 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/data/shadows.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        data, start = server.content, 0
        if server.status != 200:
            self.send_error(server.status)
            return
        fresh = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.length:
            self.send_header("Content-Length", str(len(data) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        cut = server.cuts[len(server.asked) - 1] if len(server.asked) <= len(server.cuts) else len(data)
        self.wfile.write(data[start : start + cut])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with Server() as found:
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        found.content = archive({"shadows/cases.csv": "id\n", "shadows/images/a.bin": NOISE})
        yield found
        found.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    monkeypatch.setattr(room, "WAIT", 0.0)
    return tmp_path


def declared(server, **changes):
    digits = hashlib.sha256(server.content).hexdigest()
    return Download(**{"url": server.url, "checksum": f"sha256:{digits}", "size": len(server.content), **changes})


def test_a_dataset_is_downloaded_verified_unpacked_and_the_parts_go(server, home, capsys):
    digits = hashlib.md5(server.content).hexdigest()
    words = ["download", "shadows", "--url", server.url, "--checksum", f"md5:{digits}", "--license", "CC0"]
    assert run(words) == 0
    assert (home / "input" / "shadows" / "images" / "a.bin").read_bytes() == NOISE
    assert sorted(path.name for path in (home / "input").glob("*/*")) == [".download.json", "cases.csv", "images"]
    assert "license of the data: CC0" in capsys.readouterr().out
    assert run(words) == 2
    assert "delete or rename it to download the dataset again" in capsys.readouterr().err


@pytest.mark.parametrize("cuts", [(1_000_000, 500_000), (0, 2_000_000), (1,)])
def test_a_cut_connection_is_resumed_where_it_was_cut(server, tmp_path, cuts):
    server.cuts = cuts
    path = fetch(declared(server), tmp_path, quiet=True, wait=0)
    assert path.read_bytes() == server.content
    ends = [sum(cuts[: number + 1]) for number in range(len(cuts))]
    assert server.asked == [None, *(f"bytes={end}-" if end else None for end in ends)]


def test_a_second_call_goes_on(server, tmp_path):
    server.cuts = (1_000_000, *[0] * room.TRIES)
    with pytest.raises(UserError, match=r"cannot be reached .*run the command again later, it resumes"):
        fetch(declared(server), tmp_path, quiet=True, wait=0)
    fetch(declared(server), tmp_path, quiet=True, wait=0)
    assert server.asked[-1] == "bytes=1000000-"


@pytest.mark.parametrize("change", [{"ranges": False}, {"length": False}, {"etag": ""}, {"ranges": False, "etag": ""}])
def test_servers_without_ranges_lengths_or_versions(server, tmp_path, change):
    for name, value in change.items():
        setattr(server, name, value)
    server.cuts = (700_000,)
    assert fetch(declared(server), tmp_path, quiet=True, wait=0).read_bytes() == server.content


def test_a_file_that_was_replaced_meanwhile_is_loaded_anew(server, tmp_path):
    server.cuts = (1_000_000, *[0] * room.TRIES)
    with pytest.raises(UserError):
        fetch(Download(server.url), tmp_path, quiet=True, wait=0)
    server.content, server.etag = archive({"b": NOISE[::-1]}), '"two"'
    assert fetch(Download(server.url), tmp_path, quiet=True, wait=0).read_bytes() == server.content


def test_a_part_that_is_complete_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "shadows.zip.part").write_bytes(server.content)
    assert fetch(declared(server), tmp_path, quiet=True, wait=0).read_bytes() == server.content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksum": f"sha256:{'0' * 64}"}, r"has the sha256 \w{64}, declared is 0{64}: it was deleted; download it"),
        ({"size": 5}, r"has \d+ bytes, declared are 5: check address and size"),
        ({"url": "file:///etc/passwd"}, "is not an address that begins with https://"),
        ({"checksum": "sha256:12"}, "must be sha256: or md5: and lower-case hexadecimal digits"),
        ({"kaggle": "a/b"}, "either an address or a Kaggle slug: give one"),
    ],
)
def test_what_is_not_as_declared_is_refused(server, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        fetch(declared(server, **changes), tmp_path, quiet=True, wait=0)
    assert not (tmp_path / "shadows.zip").exists()


def test_more_than_declared_without_a_length_is_stopped(server, tmp_path):
    server.length = False
    with pytest.raises(UserError, match=r"sends more than the 1000 bytes declared"):
        fetch(declared(server, size=1000), tmp_path, quiet=True, wait=0)


def test_an_address_that_does_not_exist_is_named_at_once(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"shadows.zip cannot be downloaded \(HTTP 404\): check its address"):
        fetch(declared(server), tmp_path, quiet=True, wait=0)
    assert len(server.asked) == 1


def test_a_full_disk_is_said_in_a_sentence(server, tmp_path):
    (tmp_path / "shadows.zip.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk of .* is full: free some space and run the command again"):
        fetch(declared(server), tmp_path, quiet=True, wait=0)


def test_a_disk_too_small_is_seen_before(server, tmp_path, monkeypatch):
    free = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(room.shutil, "disk_usage", lambda *_: free)
    with pytest.raises(UserError, match=r"has 1 MiB free, the download needs 2 MiB: free some space"):
        fetch(declared(server), tmp_path, quiet=True, wait=0)


def tar_with(change) -> bytes:
    buffer, member = io.BytesIO(), tarfile.TarInfo("a/b.txt")
    change(member)
    with tarfile.open(fileobj=buffer, mode="w:gz") as handle:
        member.size = 3 if member.isfile() else 0
        handle.addfile(member, io.BytesIO(b"abc"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive({"../up.txt": "x"}), r"holds the name '../up.txt', which leads out"),
        (archive({"/etc/x": "x"}), "which leads out"),
        (archive({"C:\\x": "x"}), "which leads out"),
        (tar_with(lambda member: setattr(member, "name", "../up.txt")), "which leads out"),
        (tar_with(lambda member: setattr(member, "type", tarfile.SYMTYPE)), "holds the link or device a/b.txt"),
        (tar_with(lambda member: setattr(member, "type", tarfile.CHRTYPE)), "holds the link or device a/b.txt"),
        (archive({"a": b"sound"}).replace(b"sound", b"wrong"), "archive is damaged .*delete it and download it again"),
        (archive({"a": "x", "a/b/c": "x"}), r"holds the name 'b', which cannot be written here \(Not a directory\)"),
        (archive({"n" * 300: "x"}), r"holds the name 'n+', which cannot be written here \(File name too long\)"),
    ],
    ids=[
        *("zip up", "zip absolute", "zip drive", "tar up", "tar link", "tar device", "zip with a flipped byte"),
        *("a file that is a folder too", "a long name"),
    ],
)
def test_archives_that_lead_out_or_are_damaged_leave_nothing(tmp_path, data, message):
    path = tmp_path / "down" / "archive"
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        unpack(path, tmp_path / "down" / "out")
    assert not (tmp_path / "down" / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["down"]


@pytest.mark.parametrize(
    "data", [b"nothing", gzip.compress(b"abc", mtime=0)[:-8] + b"\0" * 8, gzip.compress(b"abc", mtime=0) + b"more"]
)
def test_a_damaged_gzip_file_is_named(tmp_path, data):
    (tmp_path / "train.csv.gz").write_bytes(data)
    with pytest.raises(UserError, match=r"train\.csv\.gz is damaged \(.*\): delete it and download it again"):
        unpack(tmp_path / "train.csv.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_inflates_beyond_measure_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("heldout.data.unpack.FREE_BYTES", 1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as handle:
        handle.writestr("zeros", bytes(50_000_000))
    (tmp_path / "bomb.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"bomb.zip inflates to more than 100 times its size"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_and_a_single_file_are_taken_as_they_are(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tar_with(id))
    assert (unpack(tmp_path / "a.tgz", tmp_path / "out") / "b.txt").read_bytes() == b"abc"
    (tmp_path / "x.npz").write_bytes(archive({"train_images.npy": b"\x93"}))
    assert (unpack(tmp_path / "x.npz", tmp_path / "other") / "x.npz").is_file()


def test_what_is_missing_is_downloaded_as_its_source_declares(home, server, monkeypatch):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    server.content = archive({"cases.csv": "id\n"})
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    monkeypatch.setattr(room.source_class("table"), "downloads", {"shadows": Download(server.url, checksum)})
    config = SimpleNamespace(source="table", dataset="shadows", source_options={}, competition="")
    assert download_missing(config) == f"downloaded {home / 'input' / 'shadows'}"
    assert download_missing(config) == "shadows is here"
    config.dataset = "unknown"
    with pytest.raises(
        UserError, match=r"nothing says where unknown comes from: put it below input/, download it with"
    ):
        download_missing(config)


def test_kaggle_is_left_to_its_client(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"Kaggle's client is missing: run `pip install 'heldout\[kaggle\]'`"):
        download_dataset("shadows", Download(kaggle="someone/shadows"), quiet=True)
    client = tmp_path / "bin" / "kaggle"
    client.parent.mkdir()
    (tmp_path / "shadows.zip").write_bytes(archive({"cases.csv": "id\n"}))
    client.write_text(
        f'#!/bin/sh\n[ "$3" = someone/shadows ] || {{ echo 404 >&2; exit 1; }}\n/bin/cp {tmp_path}/shadows.zip "$5"\n'
    )
    client.chmod(0o755)
    assert (download_dataset("shadows", Download(kaggle="someone/shadows"), quiet=True) / "cases.csv").is_file()
    with pytest.raises(UserError, match=r"kaggle cannot download someone/else \(404\): check the name, your token"):
        download_dataset("other", Download(kaggle="someone/else"), quiet=True)


def test_what_sources_declare_can_be_downloaded():
    known = known_downloads()
    assert known["Task04_Hippocampus"].license == "CC BY-SA 4.0"
    assert all(one.checksum or one.kaggle for one in known.values())


def test_a_source_declares_its_downloads_as_the_page_says():
    text = (REPOSITORY / "docs" / "sources.md").read_text(encoding="utf-8")
    space = {}
    exec(re.search(r"```python\n(.*?)```", text[text.index("## Downloads") :], re.DOTALL)[1], space)
    assert space["Shadows"].downloads["shadows-2"].kaggle == "someone/shadows-2"
