"""The examples of the two older services' READMEs, word for word but for the address and the files."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import httpx
import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.extras
PICTURES = """
import requests
import numpy as np
from PIL import Image

# Load MRI image
image = np.array(Image.open("mri_scan.png").convert("L"))

# Classify with Grad-CAM
response = requests.post(
    "http://localhost:8000/classify/gradcam",
    json={"image": image.tolist()}
)
result = response.json()
print(f"Prediction: {result['prediction']}")
print(f"Confidence: {result['confidence']:.2%}")
print(f"Calibrated Confidence: {result['calibrated_confidence']:.2%}")

# Segment with uncertainty
response = requests.post(
    "http://localhost:8000/segment/uncertainty",
    json={
        "image": image.tolist(),
        "n_mc_samples": 10,
        "use_tta": True
    }
)
result = response.json()
print(f"Mean Dice: {result['mean_dice']:.3f}")
print(f"Epistemic Uncertainty: {result['epistemic_uncertainty']:.3f}")
print(f"Aleatoric Uncertainty: {result['aleatoric_uncertainty']:.3f}")
"""
ANSWER = """
curl -X POST "http://localhost:8000/v1/predict" \\
  -H "accept: application/json" \\
  -F "file=@/path/to/volume.nii.gz"
"""
MASK = """
curl -X POST "http://localhost:8000/v1/predict?return_binary=true" \\
  -H "accept: application/octet-stream" \\
  -F "file=@/path/to/volume.nii.gz" \\
  -o mask.nii.gz
"""


def test_the_service_for_slices(server, picture, tmp_path):
    pytest.importorskip("requests", reason="requests is not installed")
    (tmp_path / "mri_scan.png").write_bytes(picture)
    text = PICTURES.replace("http://localhost:8000", server.url)
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert names == [
        "Prediction",
        "Confidence",
        "Calibrated Confidence",
        "Mean Dice",
        "Epistemic Uncertainty",
        "Aleatoric Uncertainty",
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_service_for_volumes(server, volume, tmp_path):
    (tmp_path / "volume.nii.gz").write_bytes(volume)

    def run(text: str) -> bytes:
        text = text.replace("http://localhost:8000", server.url).replace("/path/to", str(tmp_path))
        return subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, check=True, timeout=120).stdout

    found = json.loads(run(ANSWER))
    assert found["decision"] == "volumes"
    run(MASK)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(volume))
    np.testing.assert_array_equal(mask.affine, image.affine)
    labels = np.asarray(mask.dataobj)
    assert labels.shape == image.shape
    assert [int((labels == k).sum()) for k in (1, 2)] == [*found["areas"].values()]
    assert [httpx.get(f"{server.url}{path}").status_code for path in ("/docs", "/redoc", "/health")] == [200] * 3
