"""The commands that write a Kaggle kernel and check a submission file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.shared import Name, command, finish, note_missing, shown
from heldout.errors import UserError
from heldout.escape import visible

if TYPE_CHECKING:
    from heldout.blend.apply import OpenDecision
    from heldout.blend.decision import Decision
    from heldout.deliver.kernel.export import Export

MODES = ("auto", "batch", "server")
USER = re.compile(r"[A-Za-z0-9_-]{1,50}")  # an owner's slug, as Kaggle's own command line takes it


@command("python run.py kernel frac1 --user ada --competition bone-fractures --cases 2000")
def kernel(
    name: Name,
    user: Annotated[str | None, typer.Option(help="Kaggle user; $KAGGLE_USERNAME by default")] = None,
    competition: Annotated[
        str | None, typer.Option(help="name of the competition, as in its URL; by default the experiment's")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="folder of the test cases below /kaggle/input; the competition's by default")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(help="batch over a folder, or server, as RSNA 2025 asks; auto chooses by the experiment's source"),
    ] = "auto",
    most_failures: Annotated[
        float,
        typer.Option(min=0, max=1, help="largest fraction of cases that may get the class prior because they fail"),
    ] = 0.02,
    replay_on: Annotated[
        Path | None,
        typer.Option("--replay-on", metavar="DIR", help="cases of the replay; by default a few of the dataset"),
    ] = None,
    wheel: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="wheel of a package that Kaggle's image lacks; repeatable")
    ] = None,
    cases: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="expected number of cases in the hidden test set")
    ] = None,
    limit_hours: Annotated[float, typer.Option(min=0, help="time limit that the estimate is compared with")] = 12,
    fit_hours: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="H",
            help="drop flips and members until --cases fit into H hours, and seal that under a new name",
        ),
    ] = None,
    fit_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="name of the smaller decision; NAME-9h by default")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="a notebook that trains the missing fits of an experiment instead")
    ] = False,
) -> None:
    """Write an offline notebook with its weights, and verify that it reproduces the local predictions."""
    if mode not in MODES:
        raise UserError(f"--mode {mode!r} does not exist: choose one of {', '.join(MODES)}")
    user = os.environ.get("KAGGLE_USERNAME") or None if user is None else user
    if user is not None and not USER.fullmatch(user):
        raise UserError(
            f"--user {user!r} (or $KAGGLE_USERNAME) is not a Kaggle user name: write that of your profile's address, "
            "up to 50 letters, digits, '-' and '_'"
        )
    if train:
        _write_training(name, user, limit_hours)
        return
    if fit_hours is not None and cases is None:
        raise UserError("--fit-hours needs the number of cases to expect: add --cases N")
    if fit_name is not None and fit_hours is None:
        raise UserError("--fit-name names what --fit-hours makes: add --fit-hours H")

    from heldout.deliver.kernel.packages import check_wheel

    for one in wheel or ():  # before a smaller decision is sealed or the package built
        check_wheel(one)

    from heldout.blend.apply import OpenDecision
    from heldout.blend.verify import open_decision
    from heldout.deliver.kernel.export import export
    from heldout.deliver.kernel.notebook import Kernel
    from heldout.deliver.kernel.replay import Budget, limits
    from heldout.deliver.kernel.rsna2025.server import is_served

    opened = open_decision(name)
    competition = opened.config.competition if competition is None else competition
    note_missing(opened.decision, opened.session)
    if mode == "auto":
        mode = "server" if is_served(opened.config) else "batch"
    estimate = None
    if fit_hours is not None and cases is not None:
        smaller, estimate = _fit(opened, fit_hours, cases, fit_name)
        opened = OpenDecision(smaller, opened.session)
    written = Kernel(user or "USER", competition, inputs or competition or "test-cases", most_failures, mode, cases)
    exported = export(opened, written, replay_on, wheel or ())
    _print_replay(exported, mode)
    if cases is not None:
        budget = Budget(
            exported.replay, cases, *limits(mode, limit_hours if fit_hours is None else fit_hours), estimate
        )
        print(budget)
        if not budget.fits:
            print("prune the ensemble with --fit-hours" + (" and another --fit-name" if fit_hours is not None else ""))
    if user is None:
        print("the owner in both metadata files is USER: give your Kaggle name with --user before you upload")
    finish(exported.folder, f"push {name}")


def _write_training(name: str, user: str | None, hours: float) -> None:
    from heldout.launch.kaggle_training import write_training
    from heldout.tasks import load_task

    config = load_task(name)
    written = write_training([config], name, user or "USER", hours)
    print(f"{written.fits} fits are missing; a session of {hours:g} h trains them as far as it gets")
    if written.missing:
        print(f"Kaggle's image lacks {', '.join(written.missing)}, and no wheel could be fetched: turn on its internet")
    if user is None:
        print("the owner in both metadata files is USER: give your Kaggle name with --user before you upload")
    finish(written.folder, f"push {written.folder.name}")


@command("python run.py collect ada/heldout-exp042-train-kernel")
def collect(
    source: Annotated[str, typer.Argument(metavar="DIR", help="output of a training notebook, or its name: user/name")],
) -> None:
    """Take in the run folders that a training notebook left, after checking them."""
    import tempfile

    from heldout.data.kaggle import download_output
    from heldout.launch.collect import collect as take_in

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(source)
        if not folder.is_dir() and re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9-]+", source):
            folder = download_output(source, Path(temporary))
        found = take_in(folder)
    for fits, what in ((found.finished, "finished"), (found.begun, "begun, and goes on from its last epoch")):
        for fit in fits:
            print(f"{fit}: {what}")
    if found.known:
        print(f"{found.known} fits were here already")
    specs = list(dict.fromkeys(fit.spec for fit in (*found.finished, *found.begun)))
    finish(f"{len(found.finished) + len(found.begun)} fits", specs[0] if specs else "leaderboard")


@command('python run.py push frac1 --message "two seeds more"')
def push(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a decision of which `kernel` wrote a kernel")],
    message: Annotated[str, typer.Option(metavar="TEXT", help="of the new version")] = "a new version",
) -> None:
    """Upload a kernel to Kaggle with its official client: the dataset with the weights, then the notebook."""
    from heldout.data.kaggle import push_kernel
    from heldout.files import home

    for said in push_kernel(home() / "kaggle_kernels" / name, message):
        print(visible(said))


@command("python run.py check-submission frac1 submission.csv", name="check-submission")
def check_submission(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a submission, such as one that a kernel wrote")],
) -> None:
    """Check a submission file against the sample and the images: ids, order, ranges, NaN, run-length masks."""
    from heldout.deliver.submission.write import check_file

    print(f"{check_file(name, file)} rows, valid")
    print(f"Read {shown(file)}; nothing was written")


def _fit(opened: OpenDecision, hours: float, cases: int, name: str | None) -> tuple[Decision, float]:
    """The decision, or a smaller one that takes no more than so many hours for so many cases; its seconds per case."""
    from heldout.blend.costs import Clock
    from heldout.blend.members import load_member
    from heldout.blend.prune import prune_ensemble

    decision = opened.decision
    members = [load_member(one.name, opened.session) for one in decision.members]
    clock = Clock.measured(members)
    found = prune_ensemble(decision, hours=hours, cases=cases, clock=clock, name=name)
    if found is decision:
        seconds = clock.per_case(members)
        print(f"{decision.name} fits {hours:g} h for {cases:,} cases as it is: {seconds:.2f} s per case")
        return decision, seconds
    pruned = found.search.pruned
    assert pruned is not None, "what was pruned says how"
    for step in pruned.steps:
        print(f"  {step.dropped}: saves {step.seconds:.3f} s per case, costs {step.loss:+.4f} {found.metric}")
    before, after = decision.score.cross_fitted, found.score.cross_fitted
    before = pruned.score_before if before is None else before
    numbers = " to ".join("undefined" if value is None else f"{value:.4f}" for value in (before, after))
    print(f"{found.metric} cross-fitted {numbers}, the choice included: {found.composition}")
    print(f"sealed as {found.name}; {decision.name} stays as it is")
    return found, pruned.seconds_per_case[1]


def _print_replay(exported: Export, mode: str) -> None:
    from heldout.deliver.kernel.packages import image

    replay = exported.replay
    same = "equal to the last bit" if replay.difference == 0 else f"equal up to {replay.difference:.1g}"
    how = "answered a fake gateway offline" if mode == "server" else "replayed offline"
    print(f"{how} on {replay.cases} cases: {same}; {replay.seconds_per_case:.2f} s per case after the start")
    if mode == "server":
        print(
            f"series came in random order without most tags; of a truncated and an empty one {len(replay.bad)} got "
            "the prior"
        )
    print(f"the kernel needs {', '.join('=='.join(one) for one in exported.wanted.items())}")
    lacks = f"Kaggle's image (as of {image().as_of}) lacks"
    if exported.carried:
        print(f"{lacks} {', '.join(exported.carried)}: their wheels are in the bundle")
    if exported.missing:
        print(
            f"{lacks} {', '.join(exported.missing)}, and no wheel could be fetched: download them where there is a "
            "network, and add them with --wheel"
        )
