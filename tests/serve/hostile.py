"""Uploads that are meant to harm a service, and the status that each is answered with."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib

import nibabel
import numpy as np

from tests.data.dicom_toy import plane


def _zip(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def _png(width: int, height: int) -> bytes:
    """A valid PNG header with the data of one row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def _nifti(array: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(array, np.eye(4)).to_bytes()


def _claims(shape: tuple[int, ...]) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    return gzip.compress(header.binaryblock + b"n+1\0"[:0] + b"\0" * 400)


def _flat_nan() -> bytes:
    array = np.zeros((16, 16, 8), np.float32)
    array[3, 3, 3] = np.nan
    return _nifti(array)


def _noise() -> bytes:
    return _nifti(np.random.default_rng(0).normal(size=(16, 16, 8)).astype(np.float32))


def _dicom_that_claims(rows: int, columns: int) -> bytes:
    packed = io.BytesIO()
    plane(np.zeros((4, 4), np.uint16), Rows=rows, Columns=columns).save_as(packed, enforce_file_format=True)
    return packed.getvalue()


UPLOADS = {
    "empty": (b"", 422),
    "text": (b"#!/bin/sh\nrm -rf /", 415),
    "html": (b"<script>alert(1)</script>", 415),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00", 415),
    "elf": (b"\x7fELF" + b"\0" * 200, 415),
    "png of 65,000 x 65,000": (_png(65_000, 65_000), 422),
    "truncated png": (_png(64, 64)[:60], 422),
    "png without data": (_png(64, 64), 422),
    "jpeg of nothing": (b"\xff\xd8\xff\xe0" + b"\0" * 30, 422),
    "tiff of nothing": (b"II*\0" + b"\xff" * 30, 422),
    "volume of NaN": (_flat_nan(), 422),
    "volume that claims 64 GB": (_claims((20_000, 20_000, 40)), (413, 422)),
    "volume that claims 2 GB": (_claims((900, 900, 600)), (413, 422)),
    "truncated volume": (gzip.compress(_noise())[:-400], 422),
    "volume with a wrong checksum": (gzip.compress(_noise())[:-6] + b"\0" * 6, 422),
    "gzip of zeros": (gzip.compress(b"\0" * 10_000_000), 415),
    "zip of zeros": (_zip(*((f"{n}", b"\0" * 30_000_000) for n in range(3))), 413),
    "zip with paths upward": (_zip(("../../evil.dcm", b"x" * 200)), 422),
    "zip with an absolute path": (_zip(("/tmp/evil.dcm", b"x" * 200)), 422),
    "zip of nothing": (_zip(), (415, 422)),
    "zip of many files": (_zip(*((f"{n}", b"") for n in range(5000))), 413),
    "cut zip": (_zip(("a.dcm", os.urandom(4000)))[:-100], 422),
    "zip in a zip": (_zip(("a.zip", _zip(("b", b"x")))), 422),
    "dicom that claims 65,000 x 65,000": (_dicom_that_claims(65_000, 65_000), (413, 422)),
    "zip of a dicom that claims as much": (_zip(("a", _dicom_that_claims(65_000, 65_000))), (413, 422)),
    "dicom of nothing": (b"\0" * 128 + b"DICM" + b"\xff" * 40, 422),
}

BODIES = {
    "rows of different length": ({"image": [[1, 2], [3]]}, 422),
    "text for pixels": ({"image": [["a", "b"]]}, 422),
    "no image": ({"picture": [[1]]}, 422),
    "five channels": ({"image": [[[1, 2, 3, 4, 5]]]}, 422),
    "too many rows": ({"image": [[0]] * 1100}, 413),
    "two images for one": ({"images": [[[1]], [[1]]]}, 413),
    "a threshold of 7": ({"image": [[1]], "threshold": 7}, 422),
    "too many samples": ({"image": [[1]], "n_samples": 100_000}, 422),
    "a class that is not": ({"image": [[1]], "target": "spleen"}, 422),
    "a decision that is not": ({"image": [[1]], "model": "../../etc"}, 404),
}

_HEAD = b"POST /segment HTTP/1.1\r\nHost: localhost\r\n"
LINES = {
    "10 GB announced": (_HEAD + b"Content-Length: 10000000000\r\n\r\n", 413),
    "a body that does not come": (_HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 408),
    "a form without a boundary": (_HEAD + b"Content-Type: multipart/form-data\r\nContent-Length: 2\r\n\r\nxx", 422),
    "a length that is no number": (_HEAD + b"Content-Length: ten\r\n\r\n", 400),
}


def send_line(url: str, line: bytes) -> int:
    """Send bytes as they are; the status of the answer."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as one:
        one.sendall(line)
        return int(one.recv(200).split()[1])
