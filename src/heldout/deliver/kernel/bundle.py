"""The bundle: weights, decision, experiments and wheels, as a dataset that a kernel reads."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, FiniteFloat, ValidationInfo, field_serializer, field_validator

from heldout import files
from heldout.blend.decision import SCHEMA as DECISION_SCHEMA
from heldout.blend.decision import Decision, require_unedited
from heldout.blend.records import FitRef
from heldout.config import load
from heldout.config.code import code_of, files_of
from heldout.deliver.kernel.packages import build_wheel, fetch_wheels, needed, requirements, write_packages
from heldout.errors import UserError
from heldout.records import Record, parse_value, read_bytes, read_record, require_schema
from heldout.tasks.base import load_task
from heldout.train.runs import fit_folder

if TYPE_CHECKING:
    from heldout.blend.apply import OpenDecision

MANIFEST = "bundle.json"
SCHEMA = 1
_INERT = (
    ".json",
    ".npz",
    ".safetensors",
    ".whl",
    ".yaml",
)  # all else counts as code: Python also imports .so and .pyc files


class BundleRecord(Record):
    """``bundle.json``.

    Attributes:
        decision: As in ``decision.json``.
        prior: Share of the training cases that show each class; of numbers, their mean.
        files: SHA-256 of every other file, by its path in the bundle.
        trained: Files that were trained on, below the folder of the dataset.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    decision: Decision
    prior: dict[str, FiniteFloat]
    files: dict[str, str]
    trained: tuple[str, ...] = ()

    @field_validator("prior")
    @classmethod
    def _shares(cls, prior: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        """Only numbers to predict have a prior that is not a fraction of the cases."""
        decision: Decision | None = info.data.get("decision")
        if decision and decision.kind != "regression" and not all(0 <= p <= 1 for p in prior.values()):
            raise ValueError("a share lies in 0 to 1")
        return prior

    @field_serializer("decision")
    def _as_sealed(self, decision: Decision) -> dict[str, Any]:
        return decision.to_json()


@dataclass(frozen=True)
class Bundle:
    """What a kernel knows of the decision that it carries.

    Attributes:
        folder: Where the bundle lies.
        decision: What predicts.
        prior: Share of the training cases that show each class: what a case that cannot be read gets.
        trained: Files that were trained on, below the folder of the dataset.
        hashes: SHA-256 of every other file, by its path in the bundle.
    """

    folder: Path
    decision: Decision
    prior: dict[str, float]
    trained: tuple[str, ...]
    hashes: dict[str, str]


def write_bundle(opened: OpenDecision, folder: Path, wheels: Sequence[Path] | None = ()) -> Bundle:
    """Write a verified decision and everything it needs, so that neither repository nor training data are wanted.

    Args:
        opened: The decision.
        folder: Folder to write; what lies there already belongs to the bundle.
        wheels: Wheels of packages that the kernel's image lacks, which ``check_wheel`` took; the wheel of this package
            lies beside them. None writes no wheels.

    Raises:
        UserError: the package cannot be built.
    """
    decision = opened.decision
    if made := [one.name for one in decision.members if load_task(one.spec).imported is not None]:
        raise UserError(f"{made[0]} was imported and has no networks for a kernel: blend without it")
    for member in decision.predictors:
        for fit in member.folders:
            source = fit_folder(member.spec, fit.seed, fit.fold) / "weights.safetensors"
            target = folder / _fit_path(member.spec, fit) / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    files.write_text(folder / "exps" / "__init__.py", "")
    for path, place in experiment_files(decision).items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / place)
    if wheels is not None:
        build_wheel(folder / "wheels")
        for wheel in wheels:
            shutil.copyfile(wheel, folder / "wheels" / wheel.name)
    return _write_manifest(folder, decision, class_prior(opened), trained_files(opened))


def complete_bundle(bundle: Bundle, used: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Add the list of packages that a replay used, and wheels of those that Kaggle's image lacks.

    Args:
        bundle: The bundle.
        used: Packages as ``name==version``.

    Returns:
        What is wanted of the image; what it lacks and a wheel was found for; what it lacks and has none.
    """
    from packaging.utils import canonicalize_name, parse_wheel_filename

    wheels = bundle.folder / "wheels"
    there = {parse_wheel_filename(path.name)[0] for path in wheels.glob("*.whl")}
    wanted, absent = needed(used, requirements())
    missing = fetch_wheels([one for one in absent if canonicalize_name(one.partition("==")[0]) not in there], wheels)
    write_packages(bundle.folder, wanted)
    _write_manifest(bundle.folder, bundle.decision, bundle.prior, bundle.trained)
    return wanted, [one for one in absent if one not in missing], missing


def _write_manifest(folder: Path, decision: Decision, prior: dict[str, float], trained: tuple[str, ...]) -> Bundle:
    hashes = {
        path.relative_to(folder).as_posix(): files.sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, "dataset-metadata.json")
    }
    record = BundleRecord(decision=decision, prior=prior, files=hashes, trained=trained)
    files.write_json(folder / MANIFEST, record.to_json())
    return Bundle(folder, decision, prior, trained, hashes)


def is_bundle(name: str) -> bool:
    """Whether a decision is named by the folder of its bundle."""
    return (Path(name) / MANIFEST).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and refuse it where any of its files is not the one that was written, or others lie beside them.

    Raises:
        UserError: it is missing, damaged or was changed.
    """
    again = "write the kernel again"
    manifest = read_record(folder / MANIFEST, BundleRecord, SCHEMA, again)
    if outside := [name for name in manifest.files if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise UserError(f"{folder / MANIFEST} lists {outside[0]}, which is not below the bundle: {again}")
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or files.sha256_file(folder / name) != digest:
            raise UserError(f"{folder / name} is missing or changed: upload the dataset again")
    below = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    if links := sorted(path for path in below if path.is_symlink()):
        raise UserError(f"{links[0]} is a link, which a bundle does not hold: remove it, or {again}")
    found = {path.relative_to(folder) for path in below if path.is_file()}
    if unlisted := sorted(found - {Path(name) for name in (MANIFEST, "dataset-metadata.json", *manifest.files)}):
        raise UserError(f"{folder / unlisted[0]} is not a file of this bundle: remove it, or {again}")
    decision, place = manifest.decision, f"the decision in {folder / MANIFEST}"
    require_schema(decision.schema_version, DECISION_SCHEMA, place, again)
    require_unedited(decision, decision.to_json(), place, again)
    for member in decision.predictors:
        for fit in member.folders:
            name = _fit_path(member.spec, fit).as_posix()
            if manifest.files.get(f"{name}/weights.safetensors") != fit.weights_sha256:
                raise UserError(f"{folder / name} does not hold the weights that were sealed: write the kernel again")
    return Bundle(folder, decision, manifest.prior, manifest.trained, manifest.files)


def check_trust(bundle: Bundle, accept: bool) -> None:
    """Refuse to run code that was neither written here nor accepted before.

    Args:
        bundle: What :func:`read_bundle` gave; nothing of it was imported.
        accept: Run it, and remember its hash in ``working/trusted.json``.

    Raises:
        UserError: it holds other code than the experiments of this project; names its files.
    """
    code = {name: digest for name, digest in sorted(bundle.hashes.items()) if Path(name).suffix not in _INERT}
    own = files.project()
    foreign = [n for n, digest in code.items() if not (own / n).is_file() or files.sha256_file(own / n) != digest]
    foreign = [name for name in foreign if name != "exps/__init__.py" or (bundle.folder / name).stat().st_size]
    path, digest = files.home() / "working" / "trusted.json", files.sha256_json(code)
    trusted = parse_value(read_bytes(path), str(path), list[str], "delete it") if path.exists() else []
    if not foreign or digest in trusted:
        return
    if not accept:
        raise UserError(
            f"{bundle.folder} runs code that was not written here ({', '.join(foreign)}): read these files, then run "
            "the command again with --trust"
        )
    files.write_json(path, [*trusted, digest])


def experiment_files(decision: Decision) -> dict[Path, Path]:
    """Files of the members' experiments and first stages, of the parents and helpers of all, and of earlier names.

    Files beside them that their code names, such as tables of numbers, are among them.

    Returns:
        Place in a bundle, by file.
    """
    kinds = [type(load(member.spec)) for member in decision.predictors]
    names = {cls.__module__ for kind in kinds for cls in kind.__mro__}
    names |= {name.partition(":")[0] for kind in kinds for name in code_of(kind)}
    names |= {name.rpartition(".")[0] for name in names if name.count(".") > 1}  # packages of helpers
    found: dict[Path, Path] = {}
    for name in sorted(names):
        module = importlib.import_module(name) if name.partition(".")[0] == "exps" else None
        if module is not None and module.__file__:
            place = Path(*name.split("."))
            path = Path(module.__file__)
            found[path] = place / path.name if path.name == "__init__.py" else place.with_suffix(".py")
    project = files.project().resolve()
    for path in [path for kind in kinds for path in files_of(kind)]:
        if path.is_relative_to(project / "exps"):  # others are data, which stay here
            found[path] = path.relative_to(project)
    aliases = files.project() / "exps" / "aliases.py"
    return found | ({aliases: Path("exps/aliases.py")} if aliases.exists() else {})


def _fit_path(spec: str, fit: FitRef) -> Path:
    """Where a bundle holds a fit, whatever its run folder is called here."""
    return Path("working/runs") / spec / f"seed{fit.seed}" / f"fold{fit.fold}"


def trained_files(opened: OpenDecision) -> tuple[str, ...]:
    """Images of the training part, below the folder of the dataset."""
    source = opened.dataset.source
    paths = {
        path for text in opened.dataset.part("train")["image"] for path in (*source.paths(text), *source.files(text))
    }
    return tuple(sorted(p.relative_to(source.root).as_posix() for p in paths if p.is_relative_to(source.root)))


def class_prior(opened: OpenDecision) -> dict[str, float]:
    """Share of the training cases that show each class."""
    cases = opened.dataset.part("train")
    return {name: float(cases[f"y_{name}"].mean()) for name in opened.decision.classes}
