"""Fits on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from heldout import files
from heldout.config import load
from heldout.errors import UserError
from heldout.launch.local import LocalEngine
from heldout.launch.plan import Fit
from heldout.launch.queue import QueueEntry
from heldout.launch.runner import run_fits
from heldout.train import runs

pytest.importorskip("ray")
pytestmark = pytest.mark.extras

SPEC = load(
    "exp004+dataset=tiny,epochs=6,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec
ENTRY = QueueEntry(spec=SPEC, added="today")


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
        head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(shared_home))
        connect(made.address)  # to the head, as long as there is no other node
    nodes = [made.add_node(num_cpus=1, object_store_memory=100_000_000) for _ in range(2)]
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def weights() -> list[str]:
    folders = [runs.fit_folder(SPEC, 0, fold) for fold in load(SPEC).fold_list]
    return [files.sha256_file(folder / "weights.safetensors") for folder in folders]


class Once:
    """Does something once, when a fit has finished its first epoch."""

    def __init__(self, folder: Path, act) -> None:
        self.folder, self.act, self.done = folder, act, False

    def show(self, *_: object) -> None:
        if not self.done and (self.folder / "state.pt").exists():
            self.done = True
            self.act()


def test_with_and_without_a_shared_folder_and_killed_in_between_the_bits_are_those_of_one_process(home, cluster):
    from heldout.launch.ray_cluster import ray_engine

    assert run_fits(LocalEngine(1, nice=0), [ENTRY], lambda _: None) == ()
    alone = weights()
    made, nodes = cluster
    first = runs.fit_folder(SPEC, 0, 0)
    for shared in (None, False):  # None: the nodes look, and see it
        runs.run_folder(SPEC).rename(home / f"aside-{shared}")
        engine = ray_engine([load(SPEC)], made.address, 2, None, 1, shared)
        said: list[str] = []

        def kill_nodes() -> None:  # both, as either may train the first fit
            for number in range(2):
                made.remove_node(nodes[number], allow_graceful=False)
                nodes[number] = made.add_node(num_cpus=1, object_store_memory=100_000_000)

        assert run_fits(engine, [ENTRY], said.append, Once(first, kill_nodes)) == ()
        engine.close()
        assert weights() == alone
        assert any("is gone (1); it is resumed after its last epoch" in line for line in said), said
        assert not list(first.rglob(".*.part"))
        logs = [Path(line.rpartition("log in ")[2]).read_text() for line in said if "started, log in" in line]
        assert all("on node " in text for text in logs)


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


def test_an_address_without_a_cluster_is_named(home, monkeypatch):
    import ray

    from heldout.launch.ray_cluster import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", _nobody)
    with pytest.raises(UserError, match=r"--address auto: no Ray cluster answers .*ray start --head"):
        connect("auto")


def _nobody(**_: object) -> None:
    raise ConnectionError("Could not find any running Ray instance.")


def test_cases_and_trials_are_worked_on_by_the_nodes(shared_home, cluster, monkeypatch):
    from heldout.data import parallel
    from heldout.launch.ray_cluster import spread_cases
    from heldout.search.search import Search, search

    monkeypatch.setattr(parallel, "_elsewhere", {})
    assert spread_cases(cluster[0].address) == 2
    here = os.getpid()
    told = list(parallel.map_cases(processes_of, ("x",), list(range(40)), "cases", progress=False, workers=2))
    assert [name for name, _ in told] == [f"x{number}" for number in range(40)]
    assert here not in {process for _, process in told}

    monkeypatch.setenv("HELDOUT_HOME", str(shared_home))
    config = load(f"{SPEC},search_space={{'lr':('log',0.001,0.01)}}")
    done = search(Search(config, trials=3, inner_folds=2, processes=2), quiet=True)
    assert len(done) == 3


def processes_of(word: str, numbers: list[int]) -> list[tuple[str, int]]:
    return [(f"{word}{number}", os.getpid()) for number in numbers]
