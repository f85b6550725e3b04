"""``kernel``: write notebook and bundle, replay them on local cases, and keep them only if they agree."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from heldout import files
from heldout.blend.decision import Decision
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.deliver.kernel.bundle import write_bundle
from heldout.deliver.kernel.notebook import write_dataset_metadata, write_notebook
from heldout.deliver.kernel.replay import Replay, replay
from heldout.deliver.sample import case_names, ids_of, read_sample
from heldout.errors import UserError

CASES = 8


@dataclass(frozen=True)
class Export:
    """A kernel on disk, and what its replay showed."""

    folder: Path
    replay: Replay


def export(
    decision: Decision,
    *,
    user: str,
    competition: str,
    inputs: str,
    most_failures: float,
    cases: Path | None = None,
    wheels: Sequence[Path] = (),
) -> Export:
    """Write ``kaggle_kernels/<name>/`` and prove that it predicts what the local pipeline predicts.

    Args:
        decision: A verified decision.
        user: Kaggle user.
        competition: Name of the competition, or "".
        inputs: Folder of the test cases below ``/kaggle/input``.
        most_failures: Share of cases that may get the prior.
        cases: Folder of cases to replay on; None takes a few of the dataset.
        wheels: Wheels of packages that Kaggle's image lacks.

    Raises:
        UserError: the kernel fails or differs; an earlier export of that name stays as it was.
    """
    target = files.home() / "kaggle_kernels" / decision.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{decision.name}.") as temporary:
        draft = Path(temporary) / decision.name
        bundle = write_bundle(decision, draft / "dataset", wheels)
        write_dataset_metadata(draft / "dataset", decision.name, user)
        options = {"user": user, "competition": competition, "inputs": inputs, "most_failures": most_failures}
        script = write_notebook(draft / "notebook", decision.name, **options)
        folder = cases or _some_cases(decision, Path(temporary) / "cases")
        expected = _local(decision, folder, Path(temporary) / "local")
        shown = replay(script, bundle.folder, folder, expected)
        if target.exists():  # moved, not deleted: a kill here loses nothing
            target.rename(Path(temporary) / "before")
        draft.rename(target)
    return Export(target, shown)


def _local(decision: Decision, folder: Path, stem: Path) -> Path:
    """Submission for a folder of cases, by the pipeline that ``submit`` uses."""
    from heldout.blend.apply import apply_decision
    from heldout.data.sources import source_class
    from heldout.deliver.submission import SubmissionWriter

    config = load(decision.members[0]["spec"])
    source = source_class(config.source)(folder, **config.source_options)
    writer = SubmissionWriter(decision, source.loose(folder), folder)
    rows = writer.cases.to_dict("records")
    images = writer.watch((row["case_id"], source.read_image(row, salvage=True)) for row in rows)
    return writer.write(apply_decision(decision, images), stem)


def _some_cases(decision: Decision, folder: Path) -> Path:
    """Copy a few raw images of the dataset, those to submit first, under their own names.

    Raises:
        UserError: the images are no files of their own.
    """
    config = load(decision.members[0]["spec"])
    dataset = open_dataset(config)
    submit = dataset.part("submit")
    parts = [submit] if config.sample_submission is not None else [submit, dataset.part("train")]
    rows = pd.concat(parts).head(CASES).to_dict("records")
    for row in rows:
        for path in dataset.source.paths(row["image"]):
            if not path.is_file():
                raise UserError(f"{path} is no file of its own: name a folder of cases to replay on with --cases")
            target = folder / path.relative_to(dataset.source.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    if config.sample_submission is not None:
        _shorten_sample(dataset, rows, config.sample_submission, folder)
    return folder


def _shorten_sample(dataset: Dataset, rows: list[dict[str, Any]], name: str, folder: Path) -> None:
    """Copy those rows of the sample submission that name the cases."""
    sample = read_sample(dataset.source.root / name)
    chosen = {row["case_id"] for row in rows}
    names = case_names(dataset.part("submit"), sample, dataset.classes)
    ids = ids_of([shown for shown, case_id in names.items() if case_id in chosen], sample, dataset.classes)
    files.write_text(folder / name, sample[sample.iloc[:, 0].isin(ids)].to_csv(index=False))
