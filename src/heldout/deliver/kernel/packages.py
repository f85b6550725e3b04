"""Packages that a kernel uses, what of them Kaggle's image lacks, and the wheels that make up for it.

``image.json`` says what the image has, as of when, and where that is known from. The kernel's start needs only the
standard library of this module, since it is what tells that others are missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, requires, version
from pathlib import Path

from heldout import files
from heldout.errors import UserError

_LIST = "packages.json"  # of a bundle: name and version of each package of the replay
# Decoders are imported when a file needs one, and the hidden set may need one that the replay did not.
DECODERS = ("imagecodecs", "pyjpegls", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)


@dataclass(frozen=True)
class KaggleImage:
    """What is known of Kaggle's image.

    Attributes:
        as_of: Year and month.
        source: Where it is known from.
        python: Version of Python.
        packages: Versions of the installed packages, by name.
    """

    as_of: str
    source: str
    python: str
    packages: dict[str, str]


def image() -> KaggleImage:
    """Kaggle's image as ``image.json`` beside this module describes it."""
    known = json.loads(Path(__file__).with_name("image.json").read_text(encoding="utf-8"))
    del known["schema"]
    return KaggleImage(**known)


def write_packages(bundle: Path, packages: dict[str, str]) -> None:
    """Write the packages of a replay, with their versions, into a bundle."""
    files.write_json(bundle / _LIST, packages)


def read_packages(bundle: Path) -> dict[str, str]:
    """Packages of the replay, with their versions; none before there was one.

    Raises:
        UserError: the list is damaged.
    """
    path = bundle / _LIST
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_bytes())
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(number, str) for number in known.values()):
        raise UserError(f"{path} does not list packages with their versions: write the kernel again")
    return known


def imported_packages() -> list[str]:
    """Installed packages that this process uses, with their versions: what the kernel's image must have."""
    known = packages_distributions()
    names = {name for module in list(sys.modules) if "." not in module for name in known.get(module, [])}
    return sorted(f"{name}=={version(name)}" for name in names if name != "heldout")


def required_packages() -> list[str]:
    """Packages that heldout asks for at run time, and what they ask for, with the versions that are installed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = {canonicalize_name(Requirement(text).name) for text in requirements()}
    while waiting:
        name = waiting.pop()
        if name not in found and _installed(name):
            found[name] = version(name)
            texts = [text for text in requires(name) or [] if "extra ==" not in text]
            waiting |= {canonicalize_name(Requirement(text).name) for text in texts}
    return sorted(f"{name}=={number}" for name, number in found.items())


def requirements() -> list[str]:
    """What heldout asks for at run time, one requirement an entry."""
    if not files.is_checkout():
        return [text for text in requires("heldout") or [] if "extra ==" not in text]
    lines = (files.REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]


def build_wheel(folder: Path) -> Path:
    """Write this package as a wheel: built from the repository, or packed again as it was installed.

    Raises:
        UserError: it cannot be built, or files of the installation are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _build(folder) if files.is_checkout() else _pack_again(folder)


def _build(folder: Path) -> Path:
    """From a copy of the sources, so that the repository stays as it is."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
            shutil.copyfile(files.REPOSITORY / name, Path(temporary) / name)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
        shutil.copytree(files.REPOSITORY / "src", Path(temporary) / "src", ignore=ignored)
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), temporary]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the package cannot be built as a wheel ({done.stderr.strip()[-300:]}): fix pyproject.toml")
    return next(folder.glob("heldout-*.whl"))


def _pack_again(folder: Path) -> Path:
    """From the files that the installation lists, with the hashes that it lists."""
    known = distribution("heldout")
    path = folder / f"heldout-{known.version}-py3-none-any.whl"
    information = f"heldout-{known.version}.dist-info"
    added = {f"{information}/{name}" for name in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")}  # by pip
    listed = [one for one in known.files or [] if one.hash and ".." not in one.parts and str(one) not in added]
    record = [f"{one},{one.hash.mode}={one.hash.value},{one.size}" for one in listed if one.hash]
    with files.atomic(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as wheel:
        for one in listed:
            if not (place := Path(str(one.locate()))).is_file():
                raise UserError(f"{place} of the installed heldout is missing: install it again with `pip install`")
            wheel.writestr(files.zip_entry(one.as_posix()), place.read_bytes(), zipfile.ZIP_DEFLATED)
        text = "".join(f"{line}\n" for line in [*record, f"{information}/RECORD,,"])
        wheel.writestr(files.zip_entry(f"{information}/RECORD"), text)
    return path


def needed(used: Sequence[str], requirements: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What a kernel wants of its image, and what of that Kaggle's image does not have.

    Dependencies of a package that the image has are part of the image; those of a package that it lacks are needed as
    well. DICOM brings its decoders.

    Args:
        used: Packages that a replay used, as ``name==version``.
        requirements: What heldout asks for at run time.

    Returns:
        Wanted packages with the versions of the replay; and those that the image lacks, as ``name==version``.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    there = {canonicalize_name(name) for name in image().packages}
    versions: dict[str, str] = {canonicalize_name(name): number for name, number in (one.split("==") for one in used)}
    waiting = set(versions).intersection(canonicalize_name(Requirement(text).name) for text in requirements)
    if "pydicom" in versions:
        versions |= {name: version(name) for name in DECODERS if _installed(name)}
        waiting |= {name for name in DECODERS if name in versions}
    wanted: dict[str, str] = {}
    while waiting:
        name = min(waiting)
        wanted[name] = versions[name]
        if name not in there:
            waiting |= {canonicalize_name(Requirement(text).name) for text in requires(name) or []} & set(versions)
        waiting -= set(wanted)
    return wanted, [f"{name}=={number}" for name, number in wanted.items() if name not in there]


def fetch_wheels(packages: Sequence[str], folder: Path) -> list[str]:
    """Download wheels for the image's Python into ``folder``, in the version given, or else the newest there is.

    Returns:
        Those of ``packages`` that cannot be downloaded, for example without a network.
    """
    python = image().python
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--quiet"]
    options += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", *options, "--disable-pip-version-check", "--dest", str(folder)]
    if not packages or _succeeds([*command, *packages]):
        return []
    return [one for one in packages if not any(_succeeds([*command, text]) for text in (one, one.partition("==")[0]))]


def check_wheel(path: Path) -> None:
    """Refuse a file that Kaggle's image could not install.

    Raises:
        UserError: it is not a wheel, or one for another Python or platform.
    """
    from packaging.tags import compatible_tags, cpython_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    remedy = "fetch it with `pip download --no-deps PACKAGE`"
    if path.suffix != ".whl" or not path.is_file():
        raise UserError(f"--wheel {path} is not a wheel: {remedy}")
    python = tuple(map(int, image().python.split(".")))
    interpreter = f"cp{python[0]}{python[1]}"
    fitting = {*cpython_tags(python, platforms=_PLATFORMS), *compatible_tags(python, interpreter, _PLATFORMS)}
    try:
        tags = parse_wheel_filename(path.name)[3]
    except InvalidWheelFilename as error:
        raise UserError(f"--wheel {path} is not a wheel ({error}): {remedy}") from None
    if fitting.isdisjoint(tags):
        raise UserError(
            f"--wheel {path.name} is not for Python {image().python} on Linux, which Kaggle's image has: fetch it "
            f"with `pip download --no-deps --only-binary=:all: --python-version {image().python} --platform "
            f"{_PLATFORMS[0]} PACKAGE`"
        )


def check_packages(bundle: Path) -> None:
    """Name what this machine lacks of the packages that the kernel was replayed with, and what differs in version.

    Raises:
        UserError: a package is missing.
    """
    replayed = read_packages(bundle)
    missing = [name for name in replayed if not _installed(name)]
    if missing:
        raise UserError(
            f"this image lacks {', '.join(missing)}: write the kernel again and add their wheels with --wheel"
        )
    for name, known in replayed.items():
        if version(name) != known:
            print(f"{name} is {version(name)} here and was {known} in the replay", flush=True)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
