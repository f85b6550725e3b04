"""The command that keeps experiment trackers up to date: track sync."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.shared import Track, app, command, print_table
from heldout.errors import UserError
from heldout.escape import visible

group = typer.Typer(no_args_is_help=True, help="Send to experiment trackers what they lack.")
app.add_typer(group, name="track")


@command("python run.py track sync exp042 --track mlflow", group=group)
def sync(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="runs and blends; all that --track was given for by default"),
    ] = None,
    track: Track = None,
) -> None:
    """Send what trackers missed: while they were offline or failed, or what was made without --track."""
    from heldout.track.mirror import Mirror, known_sources
    from heldout.track.trackers import PACKAGES, check_trackers, open_tracker

    asked = [source for name in names or () for source in _sources(name)]
    chosen = check_trackers(track or [name for name in PACKAGES if known_sources(name)])
    if not chosen:
        raise UserError("nothing was tracked yet: name a tracker, as --track tensorboard, and a run or blend")
    rows, reasons = list[list[object]](), list[str]()
    for name in chosen:
        try:
            tracker = open_tracker(name)
        except Exception as error:  # of a tracker's own kind, as it does not take its settings
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"--track {name} cannot be opened ({reason}): change its settings") from None
        mirror = Mirror(name, tracker)
        sources = asked or known_sources(name)
        mirror.look(sources, final=True)
        mirror.close()
        reasons += [f"{name}: {reason}" for reason in dict.fromkeys(one.error for one in mirror.unsent.values())]
        rows.append([name, tracker.destination, len(sources), len(mirror.unsent)])
    print_table("Trackers", ["tracker", "where", "sources", "unsent"], rows, words=("tracker", "where"))
    for reason in reasons:  # longer than a line
        print(visible(reason))
    if any(row[3] for row in rows):
        raise typer.Exit(1)


def _sources(name: str) -> list[str]:
    """What there is under a name: a run or a blend, its tests and searches.

    Raises:
        UserError: there is nothing.
    """
    from heldout import files
    from heldout.blend.decision import blend_folder
    from heldout.blend.ledger import read_ledger
    from heldout.config.legacy import today_spec
    from heldout.train.runs import run_folder

    found = []
    if any(run_folder(spec := today_spec(name)).glob("seed*/fold*/config.json")):
        found.append(f"runs/{spec}")
    if (blend_folder(name) / "decision.json").exists():
        found.append(f"blends/{name}")
    if any(entry.evaluation.name == name for entry in read_ledger()):
        found.append(f"tests/{name}")
    searches = files.home() / "working" / "searches"
    found += [f"searches/{path.parent.relative_to(searches)}" for path in sorted(searches.glob(f"{name}/*/best.json"))]
    if not found:
        raise UserError(f"{name!r} is neither a run with a begun fold nor a blend: see `python run.py leaderboard`")
    return found
