"""The house rules: rooms import one way only, help comes without heavy imports, files stay short."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heldout.files import REPOSITORY

SOURCE = REPOSITORY / "src" / "heldout"
ROOMS = (
    "escape",
    "errors",
    "claims",
    "signals",
    "files",
    "progress",
    "journal",
    "records",
    "remote",
    "config",
    "metrics",
    "data",
    "tasks",
    "predict",
    "train",
    "search",
    "blend",
    "deliver",
    "evaluate",
    "report",
    "api",
    "launch",
    "track",
    "serve",
    "cli",
)
SIBLINGS = {"evaluate": {"deliver"}, "report": {"deliver"}}  # rooms that a later one may not import all the same
OF_EXPERIMENTS = {"tasks", "config"}  # rooms that a file in exps/ may import
OF_OTHER_FILES = {"protocols": {"errors", "metrics", "evaluate", "report"}}  # and those of one that is no experiment
HEAVY = ("torch", "pandas", "numpy", "monai", "scipy", "sklearn", "matplotlib", "optuna", "albumentations", "lightning")
OF_THE_SERVICE = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic_settings", "multipart")
LONGEST, LONGEST_WITH_REASON = 300, 400
ALLOWED_LONGER: dict[str, str] = {  # file below src/heldout: why it is better whole
    "deliver/submission/form.py": "all layouts of a sample submission: read, matched with cases, filled and checked",
    "config/base.py": "every field of an experiment with its description, in one list",
    "data/sources/table/__init__.py": "one layout with all of its options, and their explanation",
    "data/discover/columns.py": "every form in which the columns of a table may hold labels",
    "data/discover/matching.py": "every way in which the rows of a table may name images",
    "data/sources/msd.py": "two layouts that share lists, channels, labels and the way files are found",
    "data/sources/source.py": "the base of every layout: what it states, reads and checks",
    "tasks/base.py": "every hook of an experiment with its arguments and an example",
    "launch/seat.py": "sent to a node as it stands, by itself, and therefore one file of the standard library",
    "train/fit.py": "the fold loop, from the folds of a command to the files of a fit, top to bottom",
    "train/team.py": "processes of one fold: how they start, meet, share work, fail and end",
    "train/runs.py": "what a run folder holds, who may use it, and what must not have changed",
    "config/code.py": "all ways in which a module reaches code, for runs of today and of earlier versions",
    "blend/members.py": "how a member is named, opened, checked and compared with the others",
    "blend/records.py": "every part of a decision's file, as its one page of formats",
    "blend/refine.py": "every step after the weights: how it is tuned, applied and described",
    "deliver/submission/write.py": "one writer of all forms, with what may be asked of it before and after",
    "blend/decision.py": "a decision with its one reader, its one writer and its hashes",
    "report/svg.py": "all charts, which share axes, legends and the classes of one style sheet",
    "report/card.py": "facts of one card, in the order in which the card shows them",
    "blend/apply.py": "from the predictions of a decision's networks to its one answer, step by step",
    "cli/decisions.py": "one command after another from out-of-fold predictions to what is shipped",
    "serve/model.py": "one decision as a network process holds it, with everything that it is asked for",
    "evaluate/held_out.py": "one class for everything known of held-out predictions",
}
MODULES = sorted(SOURCE.rglob("*.py"))


def test_the_plan_of_the_code_names_every_package():
    plan = (REPOSITORY / "docs" / "house.md").read_text(encoding="utf-8")
    places = [path.name + "/" * path.is_dir() for path in SOURCE.iterdir() if not path.name.startswith("__")]
    assert [place for place in places if f"`{place}`" not in plan] == []


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms a file imports from, inside functions too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the full name instead of a relative import"
            names += [node.module] if node.module != "heldout" else [f"heldout.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("heldout.")} & set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_the_rooms_before_it(path):
    if room_of(path) == "__init__":
        return
    assert room_of(path) in ROOMS, f"{path} belongs to no room"
    allowed = ROOMS[: ROOMS.index(room_of(path)) + 1]
    assert imported_rooms(path) <= set(allowed), f"{room_of(path)} imports from a later room"
    assert not imported_rooms(path) & SIBLINGS.get(room_of(path), set()), f"{path} imports from a room beside its own"


def test_experiments_import_tasks_and_experiments_only():
    for path in (REPOSITORY / "exps").glob("*.py"):
        assert imported_rooms(path) <= OF_EXPERIMENTS | OF_OTHER_FILES.get(path.stem, set()), path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["leaderboard"], ["experiments"]], ids=lambda words: " ".join(words)
)
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    code = (
        f"import sys; from heldout.cli import run; code = run({arguments!r}); "
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]; "
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    environment = {**os.environ, "HELDOUT_HOME": str(tmp_path), "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_short_enough_to_read_at_once():
    lengths = {
        path.relative_to(SOURCE).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES
    }
    long = {name for name, length in lengths.items() if length > LONGEST}
    assert long <= set(ALLOWED_LONGER), "split them, or add a reason to ALLOWED_LONGER"
    assert set(ALLOWED_LONGER) <= long, "no longer that long: take their reasons out of ALLOWED_LONGER"
    assert max(lengths.values()) <= LONGEST_WITH_REASON
    assert all(len(reason.split()) >= 5 for reason in ALLOWED_LONGER.values()), "say why they are better whole"


def test_public_classes_have_names_of_their_own():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(SOURCE).as_posix())
    repeated = {name: found for name, found in places.items() if len(found) > 1}
    assert not repeated, "one name, one meaning: rename the less public class"


def module_name(path: Path) -> str:
    return ".".join(("heldout", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(path: Path, known: set[str]) -> set[str]:
    """Modules of the library that a file imports: inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
    return found & known


def test_no_modules_import_each_other():
    known = {module_name(path) for path in MODULES}
    left = {module_name(path): imported_modules(path, known) - {module_name(path)} for path in MODULES}
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    # what only imports a circle is not part of it
    while outer := [name for name in left if not any(name in needed for needed in left.values())]:
        for name in outer:
            del left[name]
    assert not left, f"these modules import each other in a circle: {sorted(left)}"


RECORDS = {  # names under which records, rows and facts are passed around
    *("member", "fit", "entry", "record", "recorded", "decision", "described", "stage", "look", "evaluation", "score"),
    *("facts", "task", "best", "log", "report", "case", "counts", "manifest", "info", "identity", "values", "kinds"),
    *("queue", "state", "hashes", "one", "packed", "summary", "trial", "profile"),
}
ROWS_OF_TABLES = (
    "data",
    "train",
    "search",
    "blend",
    "deliver",
)  # where a ``row`` is that of a table of cases or epochs
MOST_KEYED = 20  # 16 today; left are hashed identities, checkpoints of torch, and a format of others


def keyed_accesses(path: Path) -> list[str]:
    """Where a file reads or writes a field of a record by a string, as ``fit["seed"]`` does."""
    names = RECORDS if room_of(path) in ROWS_OF_TABLES else RECORDS | {"row"}
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno} {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) in names
    ]


def test_fields_of_records_are_attributes():
    found = [access for path in MODULES for access in keyed_accesses(path)]
    assert len(found) <= MOST_KEYED, "read them as attributes of a class:\n" + "\n".join(found)
