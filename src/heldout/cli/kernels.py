"""The command that writes a Kaggle kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Name, command, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "python run.py kernel frac1 --user ada --competition bone-fractures")(kernel)


def kernel(
    name: Name,
    user: Annotated[str | None, typer.Option(help="Kaggle user; $KAGGLE_USERNAME by default")] = None,
    competition: Annotated[str, typer.Option(help="the competition's name in its address")] = "",
    inputs: Annotated[
        str | None, typer.Option(help="folder of the test cases below /kaggle/input; the competition's by default")
    ] = None,
    most_failures: Annotated[
        float, typer.Option(min=0, max=1, help="share of cases that may get the class prior when they cannot be read")
    ] = 0.02,
    cases: Annotated[
        Path | None, typer.Option(metavar="DIR", help="cases to replay on; a few of the dataset by default")
    ] = None,
    wheel: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="wheel of a package that Kaggle's image lacks; repeatable")
    ] = None,
) -> None:
    """Write an offline notebook with its weights, and prove that it predicts what the local pipeline predicts."""
    from heldout.blend.decision import load_decision
    from heldout.blend.verify import verify
    from heldout.deliver.kernel.export import export

    user = user or os.environ.get("KAGGLE_USERNAME")
    decision = load_decision(name)
    verify(decision)
    exported = export(
        decision,
        user=user or "USER",
        competition=competition,
        inputs=inputs or competition or "test-cases",
        most_failures=most_failures,
        cases=cases,
        wheels=wheel or (),
    )
    shown = exported.replay
    same = "equal to the last bit" if shown.difference == 0 else f"equal up to {shown.difference:.1g}"
    print(f"replayed offline on {shown.cases} cases: {same}; {shown.seconds_per_case:.2f} s per case, start included")
    print(f"the kernel uses {', '.join(shown.packages)}: what Kaggle's image lacks goes into the bundle with --wheel")
    if user is None:
        print("the owner in both metadata files is USER: give your Kaggle name with --user before you upload")
    finish(exported.folder)
    print(f"Upload it: kaggle datasets create -p {exported.folder}/dataset -r zip")
    print(f"           kaggle kernels push -p {exported.folder}/notebook")
