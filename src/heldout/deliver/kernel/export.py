"""``kernel``: write notebook and bundle, replay them on local cases, and keep them only if they agree."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from heldout import files
from heldout.blend.apply import OpenDecision
from heldout.blend.together import gathered_by, groups_by_case, put_together
from heldout.data.dataset import Dataset
from heldout.data.levels import tables_with
from heldout.data.sources import as_list, source_class
from heldout.data.sources.tiled import TiledSource
from heldout.deliver.kernel.bundle import complete_bundle, read_bundle, trained_files, write_bundle
from heldout.deliver.kernel.notebook import Kernel, write_dataset_metadata, write_notebook
from heldout.deliver.kernel.packages import check_packages
from heldout.deliver.kernel.replay import Replay, replay
from heldout.deliver.kernel.rsna2025.hidden_set import loses_places
from heldout.deliver.kernel.rsna2025.server import ID, as_row, check_served
from heldout.deliver.kernel.runtime import competition_writer
from heldout.deliver.submission.form import case_names, read_sample, sample_form
from heldout.deliver.submission.write import as_groups, cases_to_submit, predict_rows
from heldout.errors import UserError

CASES = 8  # of the dataset, to replay on


@dataclass(frozen=True)
class Export:
    """A kernel on disk, and what its replay showed.

    Attributes:
        folder: Where it lies.
        replay: What the replay showed.
        wanted: Packages that it wants of its image, with the versions of the replay.
        carried: Packages that Kaggle's image lacks and whose wheels the bundle has.
        missing: Packages that it lacks and of which no wheel could be had.
    """

    folder: Path
    replay: Replay
    wanted: dict[str, str]
    carried: tuple[str, ...]
    missing: tuple[str, ...]


def export(opened: OpenDecision, kernel: Kernel, cases: Path | None = None, wheels: Sequence[Path] = ()) -> Export:
    """Write ``kaggle_kernels/<name>/`` and prove that it predicts what the local pipeline predicts.

    Args:
        opened: A verified decision.
        kernel: How it is to be written.
        cases: Folder of cases to replay on, of series folders for a server; None takes a few of the dataset.
        wheels: Wheels of packages that Kaggle's image lacks.

    Raises:
        UserError: the kernel fails or differs; an earlier export of that name stays as it was.
    """
    decision = opened.decision
    if kernel.mode == "server":
        check_served(decision, opened.config)
    target = files.home() / "kaggle_kernels" / decision.name
    with files.new_folder(target) as draft, tempfile.TemporaryDirectory() as temporary:
        bundle = write_bundle(opened, draft / "dataset", wheels)
        write_dataset_metadata(draft / "dataset", decision.name, kernel.user)
        script = write_notebook(draft / "notebook", decision.name, kernel)
        folder = cases or some_cases(opened, Path(temporary) / "cases", kernel.mode)
        local = local_rows if kernel.mode == "server" else local_submission
        shown = replay(
            script, bundle.folder, folder, local(opened, folder, Path(temporary) / "local"), mode=kernel.mode
        )
        wanted, carried, missing = complete_bundle(bundle, shown.packages)
        check_packages(bundle.folder)
        read_bundle(bundle.folder)
    return Export(target, shown, wanted, tuple(carried), tuple(missing))


def local_submission(opened: OpenDecision, folder: Path, stem: Path) -> Path:
    """Submission for a folder of cases, by the pipeline that ``submit`` uses."""
    source = source_class(opened.config.source)(folder, **opened.config.source_options)
    writer, groups = competition_writer(opened.config, opened.decision, source, trained_files(opened))
    rows = writer.cases.to_dict("records")
    results = predict_rows(opened, source, rows, writer.watch)
    return writer.write(put_together(opened.decision, results, groups), stem)


def local_rows(opened: OpenDecision, folder: Path, stem: Path) -> Path:
    """The rows a server should give for a folder of series folders, predicted from their files as they are.

    Series whose frames lose their places in the hidden set are named and left out, as their predictions differ.

    Raises:
        UserError: there is no series to compare.
    """
    source = source_class(opened.config.source)(folder, **opened.config.source_options)
    every = sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    places = [place for place in every if not loses_places(place)]
    if places != every:
        odd = sorted({place.name for place in every} - {place.name for place in places})
        print(
            f"{len(odd)} of {len(every)} series, such as {odd[0]}, are asked for but not compared: hidden multi-frame "
            "files do not say where their frames lie"
        )
    images = ((place.name, source.read_image({"image": as_list(place)}, salvage=True)) for place in places)
    rows = [as_row(result.scores, opened.decision) for result in opened.predict(images)]
    if not rows:
        what = "holds multi-frame series only, which cannot be compared" if every else "holds no series"
        raise UserError(f"{folder} {what}: --replay-on wants a folder of series folders here")
    table = pd.concat(rows, ignore_index=True)
    table.insert(0, ID, [place.name for place in places])
    path = stem.with_name(f"{stem.name}.csv")
    files.write_text(path, table.to_csv(index=False))
    return path


def some_cases(opened: OpenDecision, folder: Path, mode: str) -> Path:
    """Copy a few raw images of the dataset, those to submit first, under their own names; for a server, series.

    Raises:
        UserError: the images are not files of their own.
    """
    config, dataset = opened.config, opened.dataset
    submit, train = cases_to_submit(dataset), dataset.part("train")
    # a file that was trained on lies beside them, as in a competition's folder
    parts = [submit.head(CASES - 1), train.head(1)] if config.sample_submission is not None else [submit, train]
    rows = pd.concat(parts).head(CASES).to_dict("records")
    source = dataset.source
    for row in rows:
        item = next((path for path in source.paths(row["image"]) if not path.exists()), None)
        if item is not None and not isinstance(source, TiledSource):
            raise UserError(f"{item} is not a file of its own: name a folder of cases with --replay-on")
        for path in source.files(row["image"]):
            target = folder / (path.name if mode == "server" else path.relative_to(source.root))
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
    level = gathered_by(opened.decision)
    for path in tables_with(dataset.source, level) if level else []:
        shutil.copyfile(path, folder / path.name)
    groups = groups_by_case(opened.decision, dataset.source, submit) if opened.decision.pooling else {}
    if config.sample_submission is not None:
        chosen = {groups.get(row["case_id"], row["case_id"]) for row in rows}
        named = as_groups(submit, groups) if groups else submit
        _shorten_sample(dataset, named, chosen, config.sample_submission, folder)
    return folder


def _shorten_sample(dataset: Dataset, named: pd.DataFrame, chosen: Collection[str], name: str, folder: Path) -> None:
    """Copy those rows of the sample submission that name the chosen ones of these cases or groups."""
    sample = read_sample(dataset.source.root / name)
    names = case_names(named, sample, dataset.classes)
    kept = [names[shown] in chosen for shown in sample_form(sample, dataset.classes).names]
    files.write_text(folder / name, sample[kept].to_csv(index=False))
