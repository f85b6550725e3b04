"""Hostile and damaged DICOM: no crash, little memory, and a complaint by name or a volume for each."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from heldout.data.image import BadFile
from heldout.data.readers import dicom
from heldout.files import REPOSITORY
from tests.data.dicom_toy import compress, enhanced, plane, save, series, voxels

BIG = (5, 36, 40)
LIMIT = 2**30


def bytes_of(data, folder, name="good.dcm"):
    return save(data, folder / name).read_bytes()


def refused(path, *words):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadFile) as caught:
        dicom.read_volume(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**18  # KiB: a quarter of a GiB
    message = str(caught.value)
    assert path.name in message
    for word in words:
        assert word in message


def element(group, tag, vr, value, length=None):
    """Bytes of an explicit little-endian element."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", group, tag) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HI", 0, length) if long else struct.pack("<H", length)) + value


def meta(syntax):
    body = element(2, 0x10, b"UI", syntax + b"\0" * (len(syntax) % 2))
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(body))) + body


@pytest.mark.parametrize("place", ["before the pixels", "as the pixels", "without end"])
def test_deflate_bombs_are_inflated_to_a_limit_only(tmp_path, place):
    zeros = bytes(200 * 2**20)
    raw = bytes_of(plane(voxels()[0]), tmp_path)
    body = raw[raw.index(b"\x08\0\x08\0CS") :]
    if place == "before the pixels":
        body = element(0x0009, 0x0010, b"OB", zeros) + body
    elif place == "as the pixels":
        body = body.replace(element(0x7FE0, 0x10, b"OW", body[-96:]), element(0x7FE0, 0x10, b"OW", zeros))
    else:
        body = element(0x0009, 0x0010, b"SQ", zeros, 0xFFFFFFFF)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(meta(b"1.2.840.10008.1.2.1.99") + packer.compress(body) + packer.flush())
    assert path.stat().st_size < 2**18
    if place == "as the pixels":  # a small image with a long tail: the tail is never inflated
        assert dicom.read_volume(path).image.array.shape == (1, 8, 6, 1)
    else:
        refused(path, "hostile" if place == "before the pixels" else "is damaged")


def test_an_archive_that_inflates_beyond_measure_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(200 * 2**20))
    refused(tmp_path / "bomb.zip", "bomb.zip inflates to more than 64 MiB: unpack it")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_a_file_of_nothing_but_fragments_is_refused(tmp_path, syntax):
    raw = bytes_of(compress(plane(voxels((36, 40))), syntax), tmp_path)
    item = b"\xfe\xff\0\xe0\0\0\0\0"
    (tmp_path / "a.dcm").write_bytes(raw[: raw.index(item[:4], raw.index(b"\xe0\x7f\x10\0"))] + item * 200_000)
    refused(tmp_path / "a.dcm", "more than 65536 fragments in PixelData (7FE0,0010)")


def test_links_that_lead_back_up_a_tree_are_not_followed(tmp_path):
    array = series(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "aside").symlink_to(tmp_path / "a")
    assert dicom.read_volume(tmp_path / "aside").image.array.shape[3] == len(array)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_claims_of_65535_squared_are_refused_before_anything_is_allocated(tmp_path, syntax):
    data = plane(voxels(BIG)[0])
    if syntax:
        compress(data, syntax)
    data.Rows = data.Columns = 65535
    refused(save(data, tmp_path / "huge.dcm"), "Rows (0028,0010)", "GiB allowed")
    data.Rows = data.Columns = 20000
    refused(save(data, tmp_path / "large.dcm"), "Rows (0028,0010)")
    data.Rows, data.Columns, data.NumberOfFrames = 36, 40, 19999
    refused(save(data, tmp_path / "frames.dcm"), "frames")


def test_a_code_stream_that_claims_more_than_the_header_is_refused(tmp_path):
    for syntax, marker, at in ((JPEGLSLossless, b"\xff\xf7", 5), (JPEG2000Lossless, b"\xff\x51", 6)):
        data = plane(voxels(BIG)[0])
        compress(data, syntax)
        raw = bytearray(bytes_of(data, tmp_path))
        place = raw.rindex(marker) + at
        raw[place : place + (2 if syntax == JPEGLSLossless else 4)] = (
            b"\xff\xff" if syntax == JPEGLSLossless else b"\x00\x00\xff\xff"
        )
        path = tmp_path / "stream.dcm"
        path.write_bytes(raw)
        refused(path, "65535", "PixelData (7FE0,0010)")


def test_every_truncation_is_refused(tmp_path):
    raw = bytes_of(plane(voxels()[0]), tmp_path)
    path = tmp_path / "cut.dcm"
    for length in (*range(0, len(raw) - 1, 7), len(raw) - 1):
        path.write_bytes(raw[:length])
        refused(path)


def test_nested_and_endless_sequences_are_walked_without_recursion(tmp_path):
    tail = bytes_of(plane(voxels()[0]), tmp_path)
    tail = tail[tail.index(b"\x08\0\x16\0UI") :]
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nest = element(0x0008, 0x1140, b"SQ", b"", 0xFFFFFFFF) + item
    path = tmp_path / "nested.dcm"
    path.write_bytes(meta(b"1.2.840.10008.1.2.1") + nest * 100_000)
    refused(path, "nest deeper than 32 levels")
    close = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path.write_bytes(meta(b"1.2.840.10008.1.2.1") + nest * 10 + close * 10 + tail)
    assert dicom.read_volume(path).image.array.shape == (1, 8, 6, 1)
    path.write_bytes(meta(b"1.2.840.10008.1.2.1") + nest * 10 + close * 9 + tail)
    refused(path)


def test_wrong_value_representations(tmp_path):
    raw = bytes_of(plane(voxels()[0]), tmp_path)
    path = tmp_path / "vr.dcm"
    rows = raw.index(b"\x28\0\x10\0US")
    for vr in (b"\0\0", b"ZZ", b"us", b"SQ"):
        path.write_bytes(raw[: rows + 4] + vr + raw[rows + 6 :])
        refused(path)
    for vr in (b"DS", b"FD"):  # no numbers, or not enough bytes of them
        path.write_bytes(raw[: rows + 4] + vr + raw[rows + 6 :])
        refused(path, "Rows (0028,0010)")
    place = raw.index(b"\x28\0\x52\x10DS")
    length = struct.unpack_from("<H", raw, place + 6)[0]
    for value in (b"nan   ", b"1e999 ", b"ab\\c  ", b"\xff\xfe\xfd\xfc  "):
        path.write_bytes(raw[: place + 8] + value.ljust(length)[:length] + raw[place + 8 + length :])
        refused(path, "RescaleIntercept (0028,1052)")


def originals(folder):
    """Small sound files of every kind."""
    kinds = [plane(voxels(BIG)[0]), enhanced(voxels(BIG), [1] * 5, [0, 2, 4, 6, 8])]
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1):
        for make in (lambda: plane(voxels(BIG)[0]), lambda: enhanced(voxels(BIG), [1] * 5, [0, 2, 4, 6, 8])):
            kinds.append(compress(make(), syntax))
    deflated = plane(voxels(BIG)[0])
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return [bytes_of(data, folder, f"{n}.dcm") for n, data in enumerate([*kinds, deflated])]


def mutated(raw, rng):
    """A copy with a few bytes flipped, a piece cut out, doubled, zeroed or set to ones, or cut off.

    Half of the copies are changed anywhere before their pixels, the others in their pixels only, near the beginning of
    a code stream more often than not.
    """
    out = bytearray(raw)
    pixels = raw.index(b"\xe0\x7f\x10\0") + 12 if b"\xe0\x7f\x10\0" in raw else 140
    in_pixels = rng.random() < 0.5
    for _ in range(rng.integers(1, 5)):
        low, high = (pixels, len(out)) if in_pixels else (132, pixels)
        high = min(high, low + 200) if in_pixels and rng.random() < 0.6 else high
        place = min(int(rng.integers(low, max(high, low + 1))), len(out) - 1)
        length = int(rng.integers(1, 9))
        way = rng.integers(3 if in_pixels else 6)
        if way == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            out[place : place + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        elif way == 5:
            del out[place : place + length]
        elif way == 3:
            out[place:place] = out[place : place + length]
        elif way == 2:
            out[place : place + length] = (b"\0" if rng.random() < 0.5 else b"\xff") * length
        else:
            del out[place + 200 :]
    return bytes(out)


FUZZ = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from heldout.data.readers import dicom
from heldout.data.image import BadFile
volumes = complaints = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        volume = dicom.read_volume(path, pick="largest", gaps="resample", tilt="correct")
        assert volume.image.array.size and volume.image.affine.shape == (4, 4)
        volumes += 1
    except BadFile as error:
        assert path.name in str(error) and "\\n" not in str(error), str(error)
        complaints += 1
# ru_maxrss would begin with that of the process that started this one
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(volumes, complaints, peak)
"""


@pytest.mark.parametrize("count", [90, 500])
def test_mutated_files_give_a_volume_or_a_complaint(tmp_path, count):
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    raws = originals(tmp_path / "good")
    for number in range(count):
        rng = np.random.default_rng([7, number])
        (tmp_path / "bad" / f"{number:04d}.dcm").write_bytes(mutated(raws[number % len(raws)], rng))
    # In a process of its own, so that a crash in a decoder is seen as one.
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", FUZZ, str(tmp_path / "bad")],
        env={"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    volumes, complaints, memory = map(int, done.stdout.split())
    assert volumes + complaints == count
    assert min(volumes, complaints) > count // 10
    assert memory * 1024 < LIMIT


def test_a_run_length_segment_that_gives_more_than_its_plane_takes_no_memory(tmp_path):
    data = plane(voxels()[0])
    frame = struct.pack("<16I", 2, 64, 64 + 2_000_000, *[0] * 13) + b"\x81\0" * 2_000_000
    data.file_meta.TransferSyntaxUID = RLELossless
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    refused(save(data, tmp_path / "a.dcm"), "cannot be decoded", "restore it from its source")
