"""What a fit takes along to a machine without a common folder, and what it brings back."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import heldout
from heldout import files
from heldout.config.code import code_of, files_of
from heldout.config.own_files import path_of
from heldout.errors import UserError
from heldout.launch.plan import Fit
from heldout.launch.seat import END, Part
from heldout.tasks import Task
from heldout.tasks.pretrained import PretrainedEncoder
from heldout.train import runs
from heldout.train.dependencies import find_dependency

CODE = (".py", ".json", ".html", ".css", ".js", ".svg", ".txt", ".jinja")
READ_BY_CODE = (".csv", ".npy", ".npz", ".toml", ".yaml", ".yml")  # of experiments

_CONFIRMING = {"state.pt": 1, "run.json": 2}
LEFT_HERE = ("tensorboard", "oof_maps", ".arriving")  # of a fit; no training reads them


def refuse_to_travel(config: Task, where: str) -> None:
    """Refuse an experiment that needs more of this machine than a packed dataset, finished fits and ``exps/``.

    Raises:
        UserError: it does; names the field, or the file.
    """
    fields = ("first_stage", "pseudo_labels", "extra")
    asked = [name for name in fields if getattr(config, name)]
    if config.measure_speed and not (files.home() / _fastest(config)).exists():
        asked.append("measure_speed")
    if asked:
        raise UserError(
            f"{config.spec} sets {asked[0]}, which {where} cannot be sent: train it where the folder working/ is at "
            "hand, or unset the field"
        )
    if path := next(_outside(config), None):
        raise UserError(f"{config.spec} reaches {path}, which cannot be sent {where}: move it below {_exps()}")


def _outside(config: Task) -> Iterator[Path]:
    """Files that the code of an experiment reaches and that do not lie beside the experiments."""
    modules = {name.partition(":")[0] for name in code_of(type(config))}
    for path in [*(path_of(name) for name in sorted(modules)), *files_of(type(config))]:
        if path is not None and not path.resolve().is_relative_to(_exps().resolve()):
            yield path


def _exps() -> Path:
    return files.project() / "exps"


def _fastest(config: Task) -> Path:
    return Path("working/fastest") / f"{config.spec}.json"


def pack_for(configs: Sequence[Task]) -> Path:
    """A file with the dataset of experiments, prepared for all of them; made where it is not there.

    Raises:
        UserError: as :func:`heldout.data.pack.write.pack`.
    """
    from heldout.data.cases import open_dataset
    from heldout.data.pack.write import pack
    from heldout.data.recipe import Recipe

    dataset = open_dataset(configs[0])
    recipes = sorted({Recipe.of(config).digest() for config in configs})
    key = files.sha256_json([dataset.data_hash, dataset.fold_hash, recipes])
    path = files.home() / "working" / "launch" / f"{dataset.folder.name}-{key[:12]}.pack"
    with files.lock(path.parent, "packing a dataset", wait=True):
        if not path.exists():
            pack(configs, path)
    return path


def place_of(spec: str, fit: Fit) -> str:
    """Where a fit lies below ``HELDOUT_HOME`` of another machine, whatever its run is called here."""
    return f"working/runs/{spec}/seed{fit.seed}/fold{fit.fold}"


def needed_files(fits: Iterable[Fit]) -> dict[str, Path]:
    """Files that fits read besides the dataset, by their place below ``HELDOUT_HOME``.

    These are what there is of them, the fits that they start from, their pretrained weights, and how they train
    fastest.
    """
    found: dict[str, Path] = {}
    home = files.home()
    for fit in fits:
        config, folder = fit.config(), fit.folder()
        assert config is not None, "its number of epochs is known"
        assert folder is not None, "its number of epochs is known"
        folders = {place_of(config.spec, fit): folder}
        if config.warm_start is not None:
            source = find_dependency(config, "warm_start")
            folders[place_of(source.spec, fit)] = runs.fit_folder(source.spec, fit.seed, fit.fold)
        for place, real in folders.items():
            for path in sorted(real.rglob("*")):
                below = path.relative_to(real)
                if path.is_file() and not path.name.startswith(".") and below.parts[0] not in LEFT_HERE:
                    found[f"{place}/{below.as_posix()}"] = path
        found |= {f"input/weights/{place}": path for place, path in weights_of(config).items()}
        if config.measure_speed:
            found[_fastest(config).as_posix()] = home / _fastest(config)
    return found


def weights_of(config: Task) -> dict[str, Path]:
    """Pretrained weights, by the place where another machine finds them below a folder of weights."""
    from heldout.tasks.nets.hub import CONFIG
    from heldout.tasks.nets.weights import weight_folders

    path = config.pretrained_file()
    if path is None:
        return {}
    for folder in weight_folders():
        with contextlib.suppress(ValueError):
            return {path.relative_to(folder).as_posix(): path}
    named = config.hub_weights() if isinstance(config, PretrainedEncoder) else None
    if named is None:
        return {path.name: path}
    return {f"{named.name}/{one.name}": one for one in (path, path.with_name(CONFIG)) if one.is_file()}


def code_files() -> dict[str, Path]:
    """Files of this package and of ``exps/``, by their place."""
    package, exps = Path(heldout.__file__).parent, _exps()
    found = {}
    for root, name in ((package, "heldout"), (exps, "exps")):
        for path in sorted(root.rglob("*")):
            wanted = CODE + READ_BY_CODE if root == exps else CODE
            if path.is_file() and path.suffix in wanted and "node_modules" not in path.parts:
                found[f"{name}/{path.relative_to(root).as_posix()}"] = path
    return found


def archive(content: dict[str, Path]) -> bytes:
    """A zip archive; equal files make equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as made:
        for name, path in sorted(content.items()):
            made.writestr(files.zip_entry(name), path.read_bytes())
    return buffer.getvalue()


def chunks(path: Path, size: int = 1 << 25) -> Iterator[bytes]:
    """The bytes of a file, part by part."""
    with open(path, "rb") as handle:
        while data := handle.read(size):
            yield data


class Arrival:
    """Files of a fit that come from elsewhere in parts: those that belong together are put in place once all are here.

    Args:
        folder: Where they belong. What an earlier arrival left unfinished is forgotten.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staged = folder / ".arriving"
        shutil.rmtree(self.staged, ignore_errors=True)

    def take(self, parts: Iterable[Part]) -> None:
        """Write parts in the order in which they were sent.

        Raises:
            UserError: a file arrived damaged, or belongs elsewhere.
        """
        for name, offset, data, sha256 in parts:
            if (name, offset, data, sha256) == END:
                self._settle()
                continue
            if not files.is_below(name) or any(part.startswith(".") for part in name.split("/")):
                raise UserError(f"a node sent {name}, which is no file of {self.folder}: leave that node out")
            path = self.staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if sha256 is None:
                with open(path, "r+b" if offset else "wb") as handle:
                    handle.seek(offset)
                    handle.write(data)
                continue
            path.touch()  # an empty file has no parts
            if files.sha256_file(path) != sha256:
                raise UserError(f"{self.folder / name} arrived damaged: run the command again")
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())

    def _settle(self) -> None:
        """Put what is here in place: the state after the files that it names, and what confirms all others last."""
        paths = [path for path in self.staged.rglob("*") if path.is_file()]
        for path in sorted(paths, key=lambda path: _CONFIRMING.get(path.name, 0)):
            target = self.folder / path.relative_to(self.staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        if runs.is_finished(self.folder):
            (self.folder / "state.pt").unlink(missing_ok=True)  # as where it was trained
