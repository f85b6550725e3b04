"""Inputs unlike the training images."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")
from heldout.data.image import Image
from heldout.serve.drift import FingerprintRecord, modality_of
from tests.data.dicom_toy import ct_files

pytestmark = pytest.mark.extras


def test_another_modality_than_that_of_the_training_images_is_said(tmp_path):
    [path, *_] = ct_files()
    assert modality_of(path) == "CT"
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert modality_of(tmp_path / "a.png") == ""
    values = {"identity": "0", "images": 20, "channels": (1,), "lowest": {}, "middle": {}, "highest": {}}
    of_mr, unknown = (FingerprintRecord(modalities=known, **values) for known in (("MR",), ()))
    image = Image(np.zeros((1, 4, 4)))
    assert of_mr.unusual(image, {}, "CT") == ["its modality is CT, of the training images MR"]
    assert of_mr.unusual(image, {}, "MR") == of_mr.unusual(image, {}, "") == unknown.unusual(image, {}, "CT") == []
