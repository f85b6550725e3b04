"""Item 7: a command that is asked to end says one sentence, and leaves nothing over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.errors import UserError
from heldout.train.failures import explained

SPEC = "exp001+epochs=200,source_options={'patients':24,'images_per_patient':1,'size':32},workers=2"


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
def test_a_training_that_is_stopped_says_so_in_one_line(home, wanted, group):
    command = [sys.executable, str(files.REPOSITORY / "run.py"), SPEC, "--fold", "0", "--seed", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "HELDOUT_DATA"}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 240
        while (
            not any("state.pt" in names for _, _, names in os.walk(home))
            and time.monotonic() < deadline
            and process.poll() is None
        ):
            time.sleep(0.1)
        (os.killpg if group else os.kill)(process.pid, wanted)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + wanted
    assert "Traceback" not in text
    assert text.strip().splitlines()[-1].endswith("everything finished is kept, and the same command resumes")


def test_a_loading_process_that_dies_is_one_sentence(home):
    """Also where its death interrupts a file that is being written, which looks like a full disk."""
    command = [sys.executable, str(files.REPOSITORY / "run.py"), SPEC, "--fold", "0", "--seed", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "HELDOUT_DATA"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline, loaders = time.monotonic() + 240, list[str]()
        while len(loaders) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            loaders = [pid for pid in children if b"run.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(loaders[0]), signal.SIGKILL)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in text
    assert text.strip().splitlines()[-1].startswith("error: a loading process died, mostly for want of memory")


def test_a_writer_that_a_dying_process_interrupts_is_no_full_disk(tmp_path):
    writer = RuntimeError("PytorchStreamWriter failed writing file: unexpected pos 64 vs 0")
    for cause, message in ((None, "the disk of "), ("DataLoader worker (pid 7) is killed", "a loading process died")):
        writer.__cause__ = None if cause is None else RuntimeError(cause)
        with pytest.raises(UserError, match=f"^{message}"), explained(tmp_path / "exp/seed0/fold0"):
            raise writer


TINY = "exp001+dataset=tiny,epochs=1,seeds=(0,1),source_options={'patients':24,'size':32},steps_per_epoch=2,workers=2"
STAGES = {
    "folds": ["folds", TINY.replace("tiny", "other")],
    "train": [TINY.replace("epochs=1", "epochs=300"), "--fold", "0", "--seed", "0"],
    "predict": ["predict", "duo", "--input", "NEW", "--output", "OUT"],
    "blend": ["blend", f"{TINY}/seed0", f"{TINY}/seed1", "--name", "third", "--trials", "3000"],
    "freeze": ["freeze", "draft"],
    "test": ["test", "duo", "--repeat", "a signal ended it"],
    "submit": ["submit", "duo"],
    "pack": ["pack", TINY, "--output", "OUT/tiny.zip"],
    "leaderboard": ["leaderboard"],
}


@pytest.fixture(scope="module")
def stage_home(tmp_path_factory):
    """A home with a trained experiment, a sealed blend of it and one that is not."""
    home = tmp_path_factory.mktemp("stages")
    pair = [f"{TINY}/seed0", f"{TINY}/seed1", "--sampler", "equal"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        for words in (
            [TINY],
            ["blend", *pair, "--name", "duo"],
            ["freeze", "duo"],
            ["blend", *pair, "--name", "draft"],
        ):
            assert run(words) == 0
    return home


@pytest.mark.journey
@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_ends_in_one_sentence_and_leaves_nothing_over(stage_home, tmp_path, stage, wanted):
    """Stopped at several moments; what it was making is whole or absent, and the same command then succeeds."""
    home = shutil.copytree(stage_home, tmp_path / "home", symlinks=True)
    words = [word.replace("NEW", str(home / "input/tiny/submit")) for word in STAGES[stage]]
    environment = {name: value for name, value in os.environ.items() if name != "HELDOUT_DATA"}
    environment |= {"HELDOUT_HOME": str(home), "PYTHONFAULTHANDLER": "1"}
    stopped = 0
    for number, delay in enumerate((0.3, 1.5, 3.0, 5.0)):
        command = [word.replace("OUT", str(tmp_path / f"out{number}")) for word in words]
        process = subprocess.Popen(
            [sys.executable, str(files.REPOSITORY / "run.py"), *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        time.sleep(delay)
        process.send_signal(wanted)
        text = said(process)
        assert "Traceback" not in text, text
        assert not left_over(home)
        until = time.monotonic() + 10  # helpers notice that their parent ended
        while processes_of(process.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not processes_of(process.pid)
        if process.returncode in (128 + wanted, -wanted):  # the second: before the first line of ours ran
            stopped += 1
            if process.returncode > 0:
                assert text.strip().splitlines()[-1].endswith("the same command resumes")
        else:
            assert process.returncode == 0, text
    assert stopped


def said(process: subprocess.Popen[str]) -> str:
    """Error stream of a process that ends; of one that does not, with what its threads are doing."""
    try:
        return process.communicate(timeout=120)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"it goes on:\n{process.communicate()[1]}")


def left_over(home) -> list[str]:
    """Temporary files of a write that did not end."""
    return [str(path) for path in home.rglob(".*") if path.suffix in (".part", ".tmp") or path.name.startswith(".tmp")]


def processes_of(session: int) -> list[str]:
    """Processes of a session that is over."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, _, _, group = place.read_text().rpartition(")")[2].split()[:4]
            if int(group) == session and state != "Z":
                found.append(place.parent.name)
    return found


# What a command is doing when it signals itself. Python swallows what is raised in a finalizer; a writer in C++ turns
# it into an error that looks like a full disk; a library may catch everything; what ends the work may take its time; a
# bar that is shown by what only waits is drawn once more at its end.
MOMENTS = {
    "finalizer": """
class Last:
    def __del__(self):
        stop()

def work():
    Last()
    time.sleep(30)
""",
    "writer": """
import io, torch
from heldout.train.failures import explained

class Writer(io.RawIOBase):
    def write(self, data):
        stop()

def work():
    with explained(Path("exp001/seed0/fold0")):
        torch.save(torch.zeros(9), Writer())
""",
    "library": """
import heldout.signals
heldout.signals.PATIENCE = 0.5

def work():
    try:
        stop()
    except BaseException:
        pass
    time.sleep(30)
""",
    "end": """
import heldout.signals
heldout.signals.PATIENCE = 0.2

def work():
    try:
        stop()
    finally:
        try:
            time.sleep(1)
        except BaseException:
            os._exit(9)
""",
    "bar": """
from heldout.progress import progress_bar

def cases():
    with progress_bar() as bar:
        bar.add_task("Predicting cases", total=2)
        yield 1

def work():
    for _ in cases():
        stop()
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_where_its_error_is_lost_ends_the_command_too(home, wanted, moment):
    text = f"""
import os, time
from pathlib import Path
import heldout.cli as cli

def stop():
    os.kill(os.getpid(), {int(wanted)})
    for _ in range(1000):
        pass
{MOMENTS[moment]}
cli.execute = lambda arguments: work()
cli.main(Path({str(files.REPOSITORY)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", text, "folds"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(files.REPOSITORY / "src")},
        check=False,
    )
    assert done.returncode == 128 + wanted
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("the same command resumes")
