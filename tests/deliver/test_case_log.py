"""A folder that is predicted in several goes, or in parts, ends with the files of one go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from heldout import files
from heldout.blend.apply import Blended
from heldout.blend.records import Pooling, Postprocess
from heldout.deliver.case_log import FOLDER, Part
from heldout.deliver.predict_folder import predict_folder
from heldout.errors import UserError
from heldout.metrics.uncertainty import Uncertainty

COUNT = 11


class Decision:
    """Predicts made-up values, and is killed after some cases."""

    def __init__(self, identity: str = "one", killed_after: int = 10**6) -> None:
        self.decision = SimpleNamespace(
            **{"classes": ("small",), "exclusive": False, "abstention": object(), "finder": None, "identity": identity},
            kind="segmentation",
            pooling=Pooling(),
            postprocess=Postprocess(),
        )
        self.config = SimpleNamespace(source="phantom", source_options={})
        self.left, self.predicted = killed_after, []

    def predict(self, images, uncertainty):
        for case_id, image in images:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.predicted.append(case_id)
            value = float(image.array.mean()) / 255
            map_ = np.full((1, 8, 8), int(255 * value), np.uint8)
            of_case = Uncertainty(*(np.full((8, 8), one) for one in (value, value / 2, value / 2)))
            abstain = "too uncertain" if value > 0.3 else ""
            yield Blended(case_id, np.float32([value]), map_, (map_ > 40).astype(np.uint8), of_case, abstain=abstain)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "new"
    made.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(made / f"{number:02d}.png"), np.full((8, 8), 10 * number, np.uint8))
    (made / "99.png").write_bytes(b"no picture")
    return made


def predict(decision: Decision, folder: Path, output: Path, **options):
    return predict_folder(
        decision, folder, output, **{"skip_bad": True, "force": False, "uncertainty": True, **options}
    )


def contents(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.fixture
def expected(folder, tmp_path) -> dict[str, bytes]:
    outcome = predict(Decision(), folder, tmp_path / "whole")
    assert (outcome.masks, dict(outcome.counts)) == (COUNT, {"ok": COUNT, "skipped": 1})
    return contents(tmp_path / "whole")


def test_killed_twice_it_predicts_every_case_once(folder, tmp_path, expected):
    output, predicted = tmp_path / "out", []
    for killed_after in (3, 4):
        decision = Decision(killed_after=killed_after)
        with pytest.raises(KeyboardInterrupt):
            predict(decision, folder, output)
        predicted += decision.predicted
        assert not (output / "predictions.csv").exists()
    log = next((output / FOLDER).rglob("cases.jsonl"))
    log.write_bytes(log.read_bytes() + b'{"case_id": "0')  # a kill in the middle of a line
    last = Decision()
    outcome = predict(last, folder, output)
    assert sorted(predicted + last.predicted) == sorted({*predicted, *last.predicted})
    assert dict(outcome.counts) == {"ok": COUNT, "skipped": 1}
    assert contents(output) == expected


def test_parts_make_one_table_and_the_last_writes_it(folder, tmp_path, expected):
    output = tmp_path / "out"
    for number in (3, 1):
        outcome = predict(Decision(), folder, output, part=Part(number, 3))
        assert outcome.table is None
    assert outcome.left == 4
    assert predict(Decision(), folder, output, part=Part(2, 3)).table == output / "predictions.csv"
    assert contents(output) == expected


def test_parts_that_end_at_once_write_the_table(folder, tmp_path, expected):
    class Together(Decision):
        def predict(self, images, uncertainty):
            yield from super().predict(images, uncertainty)
            barrier.wait(20)

    for number in range(5):
        output, barrier = tmp_path / f"out{number}", Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(predict, Together(), folder, output, part=Part(part, 2)) for part in (1, 2)]
            outcomes = [task.result() for task in tasks]
        assert {outcome.table for outcome in outcomes} <= {None, output / "predictions.csv"}
        assert [dict(one.counts) for one in outcomes if one.table is not None][-1] == {"ok": COUNT, "skipped": 1}
        assert contents(output) == expected


def test_a_file_that_was_replaced_meanwhile_is_predicted_again(folder, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict(Decision(killed_after=3), folder, output)
    for path, value in ((folder / "01.png", 250), (folder / "99.png", 240)):
        cv2.imwrite(str(path), np.full((8, 8), value, np.uint8))
    (folder / "00.png").unlink()
    decision = Decision()
    outcome = predict(decision, folder, output)
    assert "02" not in decision.predicted
    assert dict(outcome.counts) == {"ok": COUNT}
    table = dict(line.split(",")[:2] for line in (output / "predictions.csv").read_text().splitlines()[1:])
    assert "00.png" not in table
    assert (table["01.png"], table["99.png"]) == ("0.980392", "0.941176")


def test_what_parts_left_is_finished_by_the_whole(folder, tmp_path, expected):
    output = tmp_path / "out"
    predict(Decision(), folder, output, part=Part(1, 2))
    decision = Decision()
    predict(decision, folder, output)
    assert len(decision.predicted) == 5
    assert contents(output) == expected


def test_another_decision_does_not_go_on_in_the_same_folder(folder, tmp_path):
    output = tmp_path / "out"
    predict(Decision("one"), folder, output, part=Part(1, 2))
    with pytest.raises(UserError, match="holds the beginning of another prediction, with another decision"):
        predict(Decision("two"), folder, output)
    decision = Decision("two")
    predict(decision, folder, output, force=True)
    assert len(decision.predicted) == COUNT
    assert not (output / FOLDER).exists()


def test_a_bad_file_is_set_aside_by_the_option_that_the_error_names(folder, tmp_path):
    with pytest.raises(UserError, match="--skip-bad sets such files aside"):
        predict(Decision(), folder, tmp_path / "out", skip_bad=False)
    outcome = predict(Decision(), folder, tmp_path / "out")
    assert dict(outcome.counts) == {"ok": COUNT, "skipped": 1}


def test_the_log_of_a_running_command_is_not_forgotten(folder, tmp_path):
    output = tmp_path / "out"
    predict(Decision("one"), folder, output, part=Part(1, 2))
    (log,) = (output / FOLDER).rglob("cases.jsonl")
    with files.lock(log.parent, "predicting"), pytest.raises(UserError, match="out is in use by another prediction"):
        predict(Decision("two"), folder, output, force=True)
    assert log.exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="is not a part of a folder: write the second of eight as 2/8"):
        Part.parse(text)
