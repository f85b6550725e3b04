"""Fits on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd
import pytest

from heldout import files
from heldout.blend.decision import read_decision
from heldout.cli import run
from heldout.config import load
from heldout.errors import UserError
from heldout.journal import latest_trials
from heldout.launch.plan import Fit
from heldout.launch.queue import QueueEntry
from heldout.launch.runner import run_fits
from heldout.search.search import Search, search
from heldout.train import runs
from heldout.train.fit import run_experiment

pytest.importorskip("ray")
pytestmark = pytest.mark.extras

SPEC = load(
    "exp004+dataset=tiny,epochs=6,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory) -> Path:
    """The home that the cluster's own workers know."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def cluster(shared_home):
    """Two nodes of a core each, on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    from heldout.launch.ray_cluster import connect

    made = Cluster(
        initialize_head=True,
        head_node_args={
            **{"num_cpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False},
            # Ray would kill what is tested where other programs fill the memory
            "_system_config": {"memory_monitor_refresh_ms": 0},
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(shared_home))
        connect(made.address)  # to the head, as long as there is no other node
    nodes = [made.add_node(num_cpus=1, object_store_memory=100_000_000) for _ in range(2)]
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def weights(folds: Sequence[int] = (0, 1)) -> list[str]:
    return [files.sha256_file(runs.fit_folder(SPEC, 0, fold) / "weights.safetensors") for fold in folds]


class KillsNode:
    """Kills the node that trains a fold once it has finished an epoch, and adds another."""

    def __init__(self, cluster) -> None:
        (self.cluster, self.nodes), self.done = cluster, False

    def show(self, _: object, running) -> None:
        about = next((one for one in running if one.fold == 0), None)
        if self.done or about is None or not (runs.fit_folder(SPEC, 0, 0) / "state.pt").exists():
            return
        self.done = True
        number = re.findall(r"on node \S+ \((\w+)\)", Path(about.log).read_text())[-1]
        node = next(one for one in self.nodes if one.node_id.startswith(number))
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=100_000_000))


def test_with_and_without_a_shared_folder_and_killed_in_between_the_bits_are_those_of_one_process(home, cluster):
    from heldout.launch.ray_cluster import ray_engine

    run_experiment(load(SPEC), quiet=True)
    alone = weights()
    first = runs.fit_folder(SPEC, 0, 0)
    for shared, folds in ((None, (0, 1)), (False, (0,))):  # None: the nodes look, and see it
        runs.run_folder(SPEC).rename(home / f"aside-{shared}")
        engine = ray_engine([load(SPEC)], cluster[0].address, 2, None, 1, shared)
        said: list[str] = []
        entry = QueueEntry(spec=SPEC, folds=folds, added="today")
        assert run_fits(engine, [entry], said.append, KillsNode(cluster)) == ()
        assert weights(folds) == alone[: len(folds)]
        assert any("fold 0" in line and "is gone (1); it is resumed" in line for line in said), said
        assert not [*first.rglob(".*.part"), *first.glob("state.pt")]
        logs = [Path(line.rpartition("log in ")[2]).read_text() for line in said if "started, log in" in line]
        assert all("on node " in text for text in logs)


class Occupied:
    """Frees a fold when it has seen that a node waits for it."""

    def __init__(self, held: ExitStack) -> None:
        self.held, self.looks = held, 0

    def show(self, _: object, running) -> None:
        if running and not runs.is_finished(running[0].fit.folder()):
            self.looks += 1
        if self.looks == 10:
            self.held.close()


@pytest.mark.parametrize("held_fold", [0, 1])
def test_a_fit_that_another_process_trains_or_whose_format_one_chooses_is_waited_for(home, cluster, held_fold):
    from heldout.launch.ray_cluster import ray_engine

    spec = load(f"{SPEC.replace('epochs=6', 'epochs=1')}").spec
    folder, held = runs.fit_folder(spec, 0, 0), ExitStack()
    held.enter_context(files.lock(runs.fit_folder(spec, 0, held_fold), "training elsewhere"))
    engine, said, occupied = ray_engine([load(spec)], cluster[0].address, 1, None, 1, False), [], Occupied(held)
    assert run_fits(engine, [QueueEntry(spec=spec, folds=(0,), added="")], said.append, occupied) == ()
    assert occupied.looks >= 10
    assert runs.is_finished(folder)
    assert sum("started" in line for line in said) == 1


def test_a_fit_larger_than_every_node_is_refused_with_what_fits(home, cluster):
    from heldout.launch.ray_cluster import ray_engine

    engine = ray_engine([load(SPEC)], cluster[0].address, 1, None, 1, True)
    with pytest.raises(UserError, match="needs 3 cores and 0 GPUs on one node, and the largest has 1 cores"):
        engine.start(Fit(load(f"{SPEC.replace('threads=1', 'threads=3')}").spec, 0, 0), home / "log")


def test_a_command_runs_where_the_folder_is_seen_and_nowhere_else(home, cluster):
    from heldout.launch.ray_cluster import ray_engine

    for shared, code, text in ((None, 0, "hello"), (False, 2, f"does not see {home}: mount it there")):
        engine, log = ray_engine([], cluster[0].address, 1, None, 1, shared), home / f"{shared}.log"
        job = engine.start_command("a part", ["-c", "print('hello')"], log)
        end = time.monotonic() + 60
        while job.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        engine.close()
        assert (job.poll(), text in log.read_text()) == (code, True)


def test_what_cannot_be_sent_is_refused_before_anything_is(home, cluster):
    from heldout.launch.ray_cluster import ray_engine

    config = load(f"{SPEC},measure_speed=True")
    with pytest.raises(UserError, match="sets measure_speed, which to a node without a common folder cannot be sent"):
        ray_engine([config], cluster[0].address, 1, None, 1, False)


def test_work_on_a_cluster_needs_ray(home, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(["folds", SPEC, "--ray", "auto"]) == 2
    assert "needs the package ray: pip install 'heldout[scale]'" in capsys.readouterr().err


def test_an_address_without_a_cluster_is_named(home, monkeypatch):
    import ray

    from heldout.launch.ray_cluster import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", _nobody)
    with pytest.raises(
        UserError, match=r"--address auto: no Ray cluster answers .*ray start --head.*RAY_AUTH_MODE=token"
    ):
        connect("auto")


def _nobody(**_: object) -> None:
    raise ConnectionError("Could not find any running Ray instance.")


def test_cases_trials_and_a_folder_are_worked_on_by_the_nodes(home, shared_home, cluster, monkeypatch, capsys):
    from heldout.data import parallel
    from heldout.launch.ray_cluster import spread_cases

    monkeypatch.setattr(parallel, "_elsewhere", [])
    assert spread_cases(cluster[0].address) == 2
    here = os.getpid()
    told = list(parallel.map_cases(processes_of, ("x",), list(range(40)), "cases", progress=False, workers=2))
    assert [name for name, _ in told] == [f"x{number}" for number in range(40)]
    assert here not in {process for _, process in told}

    monkeypatch.setenv("HELDOUT_HOME", str(shared_home))
    few = SPEC.replace("epochs=6", "epochs=1").replace("steps_per_epoch=20", "steps_per_epoch=4")
    config = load(f"{few},search_space={{'lr':('log',0.001,0.01)}}")
    pool = parallel.processes(2)
    assert len(set(pool(joblib.delayed(node_of)(number) for number in range(2)))) == 2, (
        "a core of each node is reserved"
    )
    assert len(search(NodeSearch(config, trials=6, inner_folds=2, processes=2), quiet=True)) == 6
    assert len(nodes_with_trials()) == 2

    words = ["--inner-folds", "2", "--ray", cluster[0].address]
    assert run(["search", config.spec, "--fold", "1", "--trials", "2", *words]) == 0
    trials = latest_trials(shared_home / "working/searches" / config.spec / "fold1/study.journal")
    assert len(trials) >= 2, "each of several processes may make one more"
    assert run(["search", config.spec, "--fold", "1", "--trials", "2", "--processes", "3", *words]) == 2
    assert "--processes 3: the cluster has room for 2 that take 1 cores" in " ".join(capsys.readouterr().err.split())

    other = load(f"{few},lr=0.002")
    for one in (config, other):
        run_experiment(one, quiet=True)
    shutil.rmtree(shared_home / "nodes")
    monkeypatch.setattr("heldout.blend.study._join_work", blend_on_node)
    assert run(["blend", config.spec, other.spec, "--name", "both", "--trials", "30", "--ray", cluster[0].address]) == 0
    assert read_decision("both").search.processes == 2
    assert len(nodes_with_trials()) == 2

    new, out = home / "new", home / "out"
    new.mkdir()
    for number in range(3):
        cv2.imwrite(str(new / f"{number}.png"), np.full((32, 32), 40 * number, np.uint8))
    words = ["predict", config.spec, "--input", str(new), "--output"]
    assert run([*words, str(home / "alone")]) == 0
    assert run([*words, str(out), "--engine", "ray", "--address", cluster[0].address, "--workers", "2"]) == 0
    assert (out / "predictions.csv").read_text() == (home / "alone/predictions.csv").read_text()


def test_an_interval_shared_by_nodes_has_the_bits_of_one_process(home, shared_home, cluster, monkeypatch):
    from heldout.launch import blocks
    from heldout.launch.ray_cluster import ray_engine
    from heldout.metrics import interval, left_out

    monkeypatch.setenv("HELDOUT_HOME", str(shared_home))
    monkeypatch.setattr(left_out, "_elsewhere", [])
    monkeypatch.setattr(left_out.ScoresLeftOut, "is_own", True)  # as if a function of the user's scored the cases
    monkeypatch.setattr(blocks, "START_SECONDS", 0.0)
    random, ids = np.random.default_rng(0), [f"p{number:02}" for number in range(60)]
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "y_a": [0, 1, 1] * 20, "p_a": random.random(60)})
    alone, said = interval("brier", table, ["a"]), []
    blocks.spread_intervals(lambda: ray_engine([], cluster[0].address, 2, None, None), said.append)
    assert interval("brier", table, ["a"]) == alone
    logs = [Path(line.rpartition("log in ")[2]).read_text() for line in said if "started" in line]
    assert len({re.search(r"on node .*", text)[0] for text in logs}) == 2


def note_node() -> None:
    """Write down on which node this process is: once as it begins, and once for each trial."""
    import ray

    place = files.home() / "nodes" / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}"
    place.parent.mkdir(exist_ok=True)
    with open(place, "a", encoding="utf-8") as handle:
        handle.write("x")


def nodes_with_trials() -> set[str]:
    made = [path.name.split("-") for path in (files.home() / "nodes").iterdir() if len(path.read_text()) > 1]
    return {node for node, process in made if int(process) != os.getpid()}


@dataclass(frozen=True)
class NodeSearch(Search):
    """Writes down which node makes its trials."""

    def identity(self, dataset):
        note_node()
        return super().identity(dataset)


def blend_on_node(*work: object) -> None:
    """Work of one of several processes, which begin together and write down which node makes a trial."""
    from heldout.blend import study

    class Noted(study.TrialStore):
        def add(self, trial):
            note_node()
            time.sleep(0.02)
            super().add(trial)

    note_node()
    end = time.monotonic() + 60
    while len(list((files.home() / "nodes").iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    study.TrialStore = Noted
    study._join_work(*work)


def node_of(_: int) -> str:
    import ray

    time.sleep(0.5)
    return ray.get_runtime_context().get_node_id()


def processes_of(word: str, numbers: list[int]) -> list[tuple[str, int]]:
    return [(f"{word}{number}", os.getpid()) for number in numbers]
