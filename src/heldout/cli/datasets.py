"""Commands about data: pack and unpack a prepared dataset, label what has no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Budget, Experiment, Settings, command, configure, finish
from heldout.errors import UserError


@command("python run.py download Task04_Hippocampus")
def download(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="name of the dataset's folder below input/")],
    url: Annotated[str, typer.Option(metavar="URL", help="address of an archive, for a dataset of your own")] = "",
    checksum: Annotated[str, typer.Option(metavar="HASH", help="its sha256:... or md5:...")] = "",
    size: Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="its size")] = None,
    terms: Annotated[str, typer.Option("--license", metavar="TEXT", help="license of the data")] = "",
    kaggle: Annotated[
        str, typer.Option(metavar="SLUG", help="owner/dataset, or a competition, for the official kaggle client")
    ] = "",
) -> None:
    """Download, verify and unpack a dataset; a second call resumes where the first was cut."""
    from heldout.data.download import download_dataset, known_downloads
    from heldout.data.sources.download import Download

    if url or kaggle:
        chosen = Download(url, checksum, size, terms, kaggle)
    else:
        known = known_downloads()
        if dataset not in known:
            names = ", ".join(known)
            raise UserError(f"no source declares {dataset}: give its --url or --kaggle slug, or choose one of {names}")
        chosen = known[dataset]
    print(f"{chosen.url or 'Kaggle: ' + chosen.kaggle}; license of the data: {chosen.license or 'not stated'}")
    folder = download_dataset(dataset, chosen)
    finish(folder, "experiments")


@command("python run.py pack exp040@baseline --output fracatlas.pack")
def pack(
    experiments: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT", help="experiments of one dataset, such as exp040@baseline")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="the file to write")],
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Write the training part of a checked dataset, prepared for some experiments, into one compressed file."""
    configs = [configure(name, budget, settings, False) for name in experiments]

    from heldout.data.pack.write import pack as write

    packed = write(configs, output)
    print(f"{packed.cases} training cases, {packed.recipes} sets of arrays, {packed.size / 1e6:.1f} MB")
    print(f"sha256 {packed.sha256}")
    finish(output, f"unpack {output.name}")


@command("python run.py unpack fracatlas.pack")
def unpack(path: Annotated[Path, typer.Argument(metavar="FILE", help="a file that `pack` wrote")]) -> None:
    """Restore a packed dataset, so that training and out-of-fold scores work without its raw files."""
    from heldout.data.pack.read import unpack as read

    made = read(path)
    print(f"{made.cases} training cases, {made.recipes} sets of arrays, every hash as it was packed")
    finish(made.folder, "experiments")


@command("python run.py pseudo exp040 --input extra_images --name extra --confidence 0.9")
def pseudo(
    experiment: Experiment,
    name: Annotated[str, typer.Option(metavar="NAME", help="name of the set of labels")],
    folder: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", help="unlabeled files; by default the dataset's submit part"),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=1, help="smallest probability of a label that is used")
    ] = 0.9,
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Label unlabeled cases for each fold, by the networks that held that fold out."""
    config = configure(experiment, budget, settings, False)

    from heldout.train.pseudo import pseudo_folder, write_pseudo_labels

    record = write_pseudo_labels(config, name, folder, confidence)
    for fold, entry in record.folds.items():
        print(f"  fold {fold}: {entry.cases} cases, labeled by {len(entry.fits)} of its own networks")
    finish(pseudo_folder(name), f"train {config.spec} --set pseudo_labels={name}")
