"""Keep datasets, weights and archives out of the repository.

Run by pre-commit on the files of a commit, and by ``make lint`` on every file git tracks or would add. A file is judged
by its place, its name, its size and its first bytes, so that a renamed archive is caught too. Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 1_000_000
USER_FOLDERS = ("input", "working", "submissions", "kaggle_kernels")
PICTURES_ALLOWED_IN = ("docs/", "benchmarks/results/")
# Phantom decisions sealed by earlier code: what a test opens to show that they stay valid.
SEALED_BEFORE = tuple(f"tests/blend/sealed_before/{name}.tar.xz" for name in ("labels", "masks", "stages"))

ENDINGS = {
    "a dataset": ".nii .nii.gz .dcm .npz .npy .parquet .tif .tiff .jpg .jpeg .mha .mhd .nrrd .hdf5 .h5 .b2nd .mat",
    "model weights": ".pt .pth .ckpt .safetensors .onnx .pb .tflite .joblib .pkl .pickle .bin",
    "an archive": ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .whl",
    "a picture outside docs/ and benchmarks/results/": ".png .gif .bmp .webp",
}
BEGINNINGS = {
    b"PK\x03\x04": "an archive",
    b"\x1f\x8b": "an archive",
    b"BZh": "an archive",
    b"\xfd7zXZ\x00": "an archive",
    b"7z\xbc\xaf": "an archive",
    b"Rar!": "an archive",
    b"\x28\xb5\x2f\xfd": "an archive",
    b"\x93NUMPY": "a dataset",
    b"\x89HDF": "a dataset",
    b"PAR1": "a dataset",
    b"\xff\xd8\xff": "a dataset",
    b"II*\x00": "a dataset",
    b"MM\x00*": "a dataset",
    b"\x89PNG": "a picture outside docs/ and benchmarks/results/",
}


def complaint(path: Path) -> str | None:
    """Say why ``path`` (relative to the repository) must not be committed, or None where it may."""
    file = REPOSITORY / path
    if not file.is_file() or file.is_symlink():
        return None
    if path.parts[0] in USER_FOLDERS and path.name != "README.md":
        return f"lies in {path.parts[0]}/, which is yours and never committed"
    if file.stat().st_size > LARGEST_BYTES:
        return f"is {file.stat().st_size / 1e6:.1f} MB; the limit is {LARGEST_BYTES / 1e6:.0f} MB"
    with open(file, "rb") as handle:
        head = handle.read(132)
    kinds = [kind for kind, endings in ENDINGS.items() if path.name.lower().endswith(tuple(endings.split()))]
    kinds += [kind for beginning, kind in BEGINNINGS.items() if head.startswith(beginning)]
    if head[128:] == b"DICM":
        kinds.append("a dataset")
    if path.as_posix().startswith(PICTURES_ALLOWED_IN):
        kinds = [kind for kind in kinds if not kind.startswith("a picture")]
    if path.as_posix() in SEALED_BEFORE:
        kinds = [kind for kind in kinds if kind != "an archive"]
    return f"looks like {kinds[0]}" if kinds else None


def committable() -> list[Path]:
    """Every file that git tracks or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def main(arguments: list[str]) -> int:
    """Check the named files, or all of them; 1 when one must not be committed."""
    paths = [Path(name) for name in arguments] or committable()
    found = [(path, reason) for path in paths if (reason := complaint(path))]
    for path, reason in found:
        print(f"guard: {path} {reason}", file=sys.stderr)
    if found:
        print("guard: keep such files in input/ or working/, or publish them elsewhere", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
