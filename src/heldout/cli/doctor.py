"""The command that checks whether this machine and this project are ready for training."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import heldout
from heldout import files
from heldout.cli.demo import fresh_project
from heldout.cli.shared import AsForm, command, print_in, print_table
from heldout.errors import UserError

GIB = 1 << 30
LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHARED = 20 * GIB, 8 * GIB, 1 * GIB
SELF_TEST = (
    "folds exp001@quick",
    "exp001@quick",
    "blend exp001@quick --name doctor --trials 5",
    "freeze doctor",
    "submit doctor",
)


class Finding(NamedTuple):
    """What was looked at, whether it is fine (``ok``, ``note`` or ``bad``), and what was found."""

    what: str
    state: str
    found: str


@command("python run.py doctor --quick")
def doctor(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="leave out the self-test, which takes two minutes")] = False,
    form: AsForm = None,
) -> None:
    """Check versions, GPU, disk, memory, locks, datasets and weights; then train, seal and submit on phantoms."""
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _machine, _space, _locks, _project]
    found = [finding for check in checks for finding in check()]
    if not quick:
        found.append(_self_test(context.obj))
    if form:
        print_in(form, Finding._fields, found)
    else:
        print_table(f"heldout {heldout.__version__}", Finding._fields, found, words=("found", *Finding._fields))
    if bad := [one.what for one in found if one.state == "bad"]:
        raise UserError(f"{len(bad)} of {len(found)} checks are bad ({', '.join(bad)}): see the table for the remedy")
    if not form:
        print(f"{len(found)} checks, none is bad\nNext: python run.py experiments")


def _versions() -> Iterator[Finding]:
    """Python, and every package that is asked for at run time."""
    from packaging.requirements import Requirement

    from heldout.deliver.kernel.packages import requirements

    yield Finding("Python", "ok" if (3, 11) <= sys.version_info[:2] <= (3, 14) else "bad", platform.python_version())
    wrong, main = [], []
    for text in requirements():
        one = Requirement(text)
        if one.marker and not one.marker.evaluate():
            continue
        try:
            here = version(one.name)
        except PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(here, prereleases=True):
            wrong.append(f"{one.name} {here} is not {one.specifier}")
        if one.name in ("torch", "torchvision", "timm", "monai", "lightning", "optuna", "pandas"):
            main.append(f"{one.name} {here}")
    yield Finding("packages", "bad" if wrong else "ok", ", ".join(wrong or main) + (": pip install" if wrong else ""))


def _machine() -> Iterator[Finding]:
    """Processor, memory and GPU."""
    import torch

    from heldout.train.results import describe_machine

    yield Finding("processor", "ok", f"{describe_machine(torch.device('cpu'))}; {torch.get_num_threads()} threads")
    total, free = _memory()
    state = "ok" if free >= LITTLE_MEMORY else "note"
    yield Finding("memory", state, f"{free / GIB:.1f} of {total / GIB:.1f} GiB free")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            left, whole = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding(
                "GPU", "ok", f"{name}, {left / GIB:.1f} of {whole / GIB:.1f} GiB free, CUDA {torch.version.cuda}"
            )
    else:
        built = (
            "a CPU build of torch" if torch.version.cuda is None else f"torch is built for CUDA {torch.version.cuda}"
        )
        yield Finding("GPU", "note", f"none that torch can use ({built}): training takes the processor")


def _memory() -> tuple[int, int]:
    """Bytes in all, and those free; of a container, its own."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        free = min(free, limit - int((group / "memory.current").read_text(encoding="utf-8")))
        total = min(total, limit)
    return total, free


def _space() -> Iterator[Finding]:
    """Room on the disks, and whether files can be written and held there."""
    places = {
        "disk of working/": (files.home() / "working", LITTLE_DISK),
        "shared memory": (Path("/dev/shm"), LITTLE_SHARED),
    }
    for what, (folder, little) in places.items():
        there = next((place for place in (folder, *folder.parents) if place.exists()), None)
        if there is None or (there != folder and what == "shared memory"):
            continue
        free = shutil.disk_usage(there).free
        yield Finding(what, "ok" if free >= little else "note", f"{free / GIB:.1f} GiB free at {there}")
    try:
        with tempfile.TemporaryDirectory(dir=_made(files.home() / "working")) as name, files.lock(Path(name), "a test"):
            files.write_text(Path(name) / "test", "text")
    except OSError as error:
        yield Finding(
            "writing", "bad", f"{files.home() / 'working'}: {error.strerror}; set HELDOUT_HOME to a folder of yours"
        )
    else:
        yield Finding("writing", "ok", f"files and locks work in {files.home() / 'working'}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _locks() -> Iterator[Finding]:
    """Folders that a process holds now."""
    held = [path.parent for path in (files.home() / "working").rglob(".lock") if files.is_locked(path.parent)]
    if not held:
        yield Finding("locks", "ok", "no other process holds one")
    for folder in held:
        holder = (folder / ".lock").read_text(encoding="utf-8", errors="replace")
        yield Finding("locks", "note", f"{folder.relative_to(files.home())}: {holder}")


def _project() -> Iterator[Finding]:
    """Experiments, their datasets and their pretrained weights."""
    from heldout import config
    from heldout.tasks import load_task
    from heldout.tasks.nets.weights import weight_folders

    broken: list[str] = []
    wanted: dict[str, list[str]] = {}
    weights: list[str] = []
    for name in config.names():
        try:
            one = load_task(name)
            if not one.source.startswith("phantom"):
                wanted.setdefault(one.dataset, []).append(name)
            weights += [f"{value} of {name}"] if isinstance(value := getattr(one, "encoder_weights", None), str) else []
        except UserError as error:
            broken.append(f"{name}: {error}")
    state = "bad" if broken else "ok"
    yield Finding("experiments", state, "; ".join(broken) or f"{len(config.names())} in {files.project() / 'exps'}")
    roots = [str(Path(os.environ["HELDOUT_DATA"]).resolve())] if "HELDOUT_DATA" in os.environ else []
    yield Finding("dataset roots", "ok", ", ".join([*roots, str(files.home() / "input")]))
    absent = []
    for dataset in filter(None, wanted):
        with contextlib.suppress(UserError):
            files.dataset_root(dataset)
            continue
        absent.append(f"{dataset} ({', '.join(wanted[dataset][:2])}{' ...' if len(wanted[dataset]) > 2 else ''})")
    if absent:
        yield Finding("datasets", "note", f"not here: {', '.join(absent)}")
    there = {path.name for folder in weight_folders() if folder.is_dir() for path in folder.iterdir()}
    lacking = [text for text in weights if "." in text.split()[0] and Path(text.split()[0]).name not in there]
    found = f"{len(there)} files in {', '.join(map(str, weight_folders()))}"
    yield Finding(
        "weights", "note" if lacking else "ok", f"{found}; not here: {', '.join(lacking)}" if lacking else found
    )


def _self_test(execute: Callable[[Sequence[str]], object]) -> Finding:
    """Train, blend, seal and submit on phantoms, in a project of its own that is deleted again."""
    start = time.monotonic()
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, fresh_project(Path(folder)):
        for words in SELF_TEST:
            try:
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                    execute(words.split())
            except Exception as error:
                return Finding("self-test", "bad", f"`{words}` fails with {type(error).__name__}: {error}")
    return Finding(
        "self-test", "ok", f"trained, blended, sealed and submitted on phantoms in {time.monotonic() - start:.0f} s"
    )
