"""The command that serves sealed decisions over HTTP."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Name, app, command, finish, note_missing, print_table, shown
from heldout.errors import UserError


@command("python run.py serve frac1 --port 8000")
def serve(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="sealed decisions, or one bundle")] = None,
    host: Annotated[str | None, typer.Option(help="address to bind; 127.0.0.1 by default")] = None,
    port: Annotated[int | None, typer.Option(help="port to bind; 8000 by default, 0 takes a free one")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    workers: Annotated[int | None, typer.Option(help="number of network processes; 1 by default")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="file of lines `name: token`; needed unless the address is of this machine")
    ] = None,
    unsealed: Annotated[bool, typer.Option("--unsealed", help="also serve what is not sealed")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="run the code of a bundle that was not written here, now and later")
    ] = False,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="print every setting and its variable, and end")
    ] = False,
) -> None:
    """Serve sealed decisions over HTTP: /docs lists the endpoints.

    Settings come from the options, else from HELDOUT_SERVE_* of the environment, else from a file .env.
    """
    require_packages()
    from heldout.serve.settings import describe, read_settings

    settings = read_settings(
        decision=tuple(names or ()),
        host=host,
        port=port,
        device=device,
        workers=workers,
        token_file=token_file,
        unsealed=unsealed or None,
        trust=trust or None,
    )
    if show_settings:
        print_table(
            "Settings of the service",
            ("variable", "value", "meaning"),
            describe(settings),
            ("meaning", "variable", "value"),
        )
        return
    if not settings.decision:
        raise UserError("nothing to serve: name a sealed decision, or set HELDOUT_SERVE_DECISION")
    from heldout.serve.run import run

    run(settings)


def require_packages() -> None:
    """Refuse where a package of the service is missing.

    Raises:
        UserError: one is.
    """
    for package in ("fastapi", "uvicorn", "pydantic_settings", "prometheus_client", "fastapi_offline", "multipart"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the service needs {package}: run `pip install 'heldout[serve]'`, or `make serve`")


@command("python run.py bundle frac1")
def bundle(
    name: Name,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder to write; working/bundles/NAME by default")
    ] = None,
) -> None:
    """Write what `serve` and `predict` need of a decision into one folder: no runs, no dataset.

    The folder also holds the images of the reference cases, so that a service can prove at its start that it predicts
    what was validated: treat it like the dataset.
    """
    from heldout.blend.verify import open_decision
    from heldout.files import home
    from heldout.serve.bundle import write

    opened = open_decision(name)
    note_missing(opened.decision, opened.session)
    folder = home() / "working" / "bundles" / opened.decision.name if output is None else output
    written = write(opened, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    cases = len({one.case_id for one in written.reference.cases}) if written.reference else 0
    print(f"  {size / 1e6:.1f} MB; {cases} reference cases, with their images")
    finish(folder, f"serve {shown(folder)}")


corrections = typer.Typer(no_args_is_help=True, help="Reviewed predictions of a served decision.")
app.add_typer(corrections, name="corrections")


@command("python run.py corrections export frac1 --output input/frac1_reviewed", group=corrections)
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a decision that was reviewed")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="folder to write, empty or new")],
) -> None:
    """Make a dataset of the accepted and corrected masks, for `source = "table"`; fold tables stay as they are.

    `reviews.csv` lists all reviews, also those without a mask: of classes, of DICOM files, rejected ones.
    """
    from heldout.serve.corrections import export as write

    table, count = write(name, output)
    print(f"  {count} {'cases with masks' if table.name == 'cases.csv' else 'reviews, none of them with a mask'}")
    finish(table)
