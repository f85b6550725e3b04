"""A folder predicted in parts on an engine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.errors import UserError
from heldout.launch.engine import Engine
from heldout.launch.parts import FolderOrder, predict_parts

SPEC = load(
    "exp004+dataset=tiny,epochs=1,fold_count=2,seeds=(0,),source_options={'patients':24,'images_per_patient':1,'size':32},"
    "steps_per_epoch=4,threads=1,workers=0"
).spec


class Scripted(Engine):
    """Its parts end with given codes; one that ends with 0 writes down a case, and the last of all the table."""

    workers, until, where = 2, None, "its process"

    def __init__(self, output: Path, **codes: list[int | None]) -> None:
        self.output, self.codes, self.started, self.stopped = output, codes, [], []

    def start_command(self, what, command, log):
        part = json.loads(command[-1])["part"]
        self.started.append(part)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("error: new/7.png is damaged: restore it\n")
        engine = self

        class Job:
            where = "its process"

            def poll(self):
                code = engine.codes[f"part{part[0]}"].pop(0)
                folder = engine.output / ".predicting" / "key"
                folder.mkdir(parents=True, exist_ok=True)
                if code == 0 and not any(engine.codes.values()):
                    (engine.output / "predictions.csv").write_text("name,status\na.png,ok\nb.png,skipped\n")
                    folder.rmdir()
                    folder.parent.rmdir()
                return code

            def interrupt(self):
                engine.stopped.append(part)

            def stop(self):
                pass

        return Job()


@pytest.fixture
def order(home, tmp_path) -> FolderOrder:
    return FolderOrder("frac1", str(tmp_path / "new"), str(tmp_path / "out"))


def test_a_part_whose_node_is_gone_goes_on(order):
    engine, said = Scripted(Path(order.output), part1=[None, -9, 0], part2=[None, None, None, None, 0]), []
    assert predict_parts(engine, order, said.append) == Counter(ok=1, skipped=1)
    assert engine.started == ["1/2", "2/2", "1/2"]
    assert "part 1/2: its process is gone; it goes on after its last case" in said


def test_a_part_that_fails_stops_the_others_with_its_reason(order):
    engine = Scripted(Path(order.output), part1=[2], part2=[None] * 9)
    with pytest.raises(
        UserError, match=r"part 1/2 failed \(new/7.png is damaged: restore it\): see .*predict-out-1of2.log"
    ):
        predict_parts(engine, order, print)
    assert engine.stopped == ["2/2"]


def test_an_earlier_table_is_not_taken_for_that_of_parts_that_fail(order):
    files.write_text(Path(order.output) / "predictions.csv", "name,status\nold.png,ok\n")
    engine = Scripted(Path(order.output), part1=[2], part2=[2])
    with pytest.raises(UserError, match="part 1/2 failed"):
        predict_parts(engine, order, lambda _: None)


def test_cases_that_no_part_saw_are_told(order):
    engine = Scripted(Path(order.output), part1=[0], part2=[0, None])
    with pytest.raises(UserError, match="new changed while it was predicted: the same command goes on"):
        predict_parts(engine, order, lambda _: None)


def test_a_part_that_is_killed_at_every_start_fails(order):
    engine = Scripted(Path(order.output), part1=[-9] * 9, part2=[None] * 9)
    with pytest.raises(UserError, match="part 1/2 failed"):
        predict_parts(engine, order, lambda _: None)
    assert engine.started.count("1/2") == 3


def test_part_and_engine_contradict_each_other(home, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    words = ["predict", "frac1", "--input", str(tmp_path / "new"), "--output", str(tmp_path / "out")]
    assert run([*words, "--part", "1/2", "--engine", "local"]) == 2
    assert "--engine predicts all parts: leave out one of both" in capsys.readouterr().err


@pytest.mark.journey
@pytest.mark.extras
def test_processes_and_jobs_write_the_files_of_one(home, tmp_path, capsys):
    pytest.importorskip("submitit")
    assert run(["train", SPEC, "--fold", "0"]) == 0
    new = tmp_path / "new"
    new.mkdir()
    draw = np.random.default_rng(0)
    for number in range(9):
        cv2.imwrite(str(new / f"{number}.png"), draw.integers(0, 255, (32, 32), dtype=np.uint8))
    words = ["predict", SPEC, "--input", str(new), "--output"]
    engines = {"one": [], "two": ["--engine", "local"], "jobs": ["--engine", "slurm", "--submit", "cluster=local"]}
    for name, engine in engines.items():
        assert run([*words, str(tmp_path / name), *engine, *(["--workers", "2"] if engine else [])]) == 0
        told = capsys.readouterr().out
        assert ("part 2/2: finished" in told) == bool(engine)
        assert "9 ok" in told
        assert [path.name for path in (tmp_path / name).iterdir()] == ["predictions.csv"]
        assert (tmp_path / name / "predictions.csv").read_text() == (tmp_path / "one/predictions.csv").read_text()
