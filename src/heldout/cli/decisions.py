"""Commands from out-of-fold predictions to what is shipped: blend, freeze, test, submit, predict, overlay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.engines import (
    Address,
    EngineName,
    EngineOptions,
    GpusPerFit,
    Processes,
    Spread,
    Submit,
    Workers,
    spread,
)
from heldout.cli.shared import (
    Budget,
    By,
    Experiment,
    Name,
    Repeat,
    Settings,
    Track,
    command,
    configure,
    finish,
    note_missing,
    print_table,
    shown,
)
from heldout.errors import UserError
from heldout.escape import visible

if TYPE_CHECKING:
    from heldout.blend.decision import Decision


@command("python run.py blend exp040 exp042 --name frac1")
def blend(
    experiments: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT", help="members, such as exp040 exp042@quick")
    ],
    name: Annotated[str, typer.Option(help="name of the decision")],
    sampler: Annotated[str, typer.Option(help="tpe or cmaes (Optuna), greedy or equal (no trials)")] = "tpe",
    trials: Annotated[int, typer.Option(min=1, help="number of Optuna trials")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="seed of the search")] = 0,
    processes: Processes = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "--objective", help="score to tune; the first member's by default")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="mean, or classes (weights per class); of classifications also rank (average ranks), power (power "
            "mean), stack (logistic, weights not negative)"
        ),
    ] = "mean",
    level: Annotated[
        str | None,
        typer.Option(
            help="score case, patient, or a column of the dataset's tables such as study, whose cases are pooled; the "
            "first member's by default"
        ),
    ] = None,
    max_members: Annotated[int | None, typer.Option(min=1, help="most members that may have a weight")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="most seconds per case that the members may take on this machine")
    ] = None,
    spatial: Annotated[
        bool,
        typer.Option("--spatial", help="tune post-processing of masks: hysteresis, smallest component, filled holes"),
    ] = False,
    presence_metric: Annotated[
        str | None,
        typer.Option(help="tune the presence score of segmentations for this metric, such as roc_auc"),
    ] = None,
    calibrate: Annotated[
        str, typer.Option(help="calibrate probabilities: temperature, platt, isotonic or auto; numbers: linear")
    ] = "none",
    track: Track = None,
    ray: Spread = None,
) -> None:
    """Tune weights and thresholds on out-of-fold predictions, and score them in-sample and cross-fitted.

    Finished trials are kept: the same command resumes an interrupted search.
    """
    spread(ray)
    from heldout.blend.search import blend as search
    from heldout.data.parallel import trial_processes
    from heldout.track.follow import tracked

    with tracked(track, f"blends/{name}"):
        decision = search(
            experiments,
            name,
            sampler=sampler,
            trials=trials,
            seed=seed,
            processes=trial_processes(processes, trials),
            metric=metric,
            spatial=spatial,
            presence_metric=presence_metric,
            calibrate=calibrate,
            method=method,
            level=level,
            max_members=max_members,
            max_seconds=max_seconds,
        )
    _print_baselines(decision)
    of_classes = ", mean of its weights by class" if decision.mixing.method == "classes" else ""
    for member in (one for one in decision.members if one.weight is not None):
        print(f"  {member.weight:.3f}  {member.name}{of_classes}")
    if decision.thresholds:
        cuts = ", ".join(f"{visible(label)} {level / 255:.2f}" for label, level in decision.thresholds.items())
        print(f"  thresholds: {cuts}")
    _print_mixing(decision)
    _print_refinement(decision)
    score = decision.score
    print(f"{decision.metric} in-sample {_number(score.in_sample)}, tuned and scored on the same cases")
    if score.cross_fitted is None:
        one = len(decision.folds) < 2
        why = f"fold {decision.folds[0]} alone is finished" if one else "it is undefined on the cases of a fold"
        print(f"{decision.metric} cross-fitted is not known, as {why}: this blend is not ranked")
        print("  finish two folds or more of every member, and blend again under a new name")
    else:
        print(f"{decision.metric} cross-fitted {_interval(score.cross_fitted, score.low, score.high)}: this one ranks")
    finish(decision.folder / "decision.json", f"freeze {name}")


def _print_mixing(decision: Decision) -> None:
    """How the members are put together, where not by their weighted mean."""
    from heldout.blend.mixing import in_words

    mixing, pooling = decision.mixing, decision.pooling
    if pooling:
        value = f" {pooling.value:g}" if pooling.value else ""
        print(f"  cases of a {visible(pooling.level)} pooled by {pooling.method}{value}")
    if mixing.method == "power":
        print(f"  power mean: {mixing.power:g}")
    elif mixing.method == "rank":
        print("  mean of ranks")
    for label, text in in_words(mixing, decision.classes, [member.name for member in decision.members]).items():
        print(f"  {visible(label)}: {text}")


def _print_refinement(decision: Decision) -> None:
    """How presence is mixed and probabilities are calibrated, and what either changes; draws the diagram."""
    from heldout.report.charts import write_reliability

    for note in decision.notes:
        print(f"  note: {visible(note)}")
    for label, one in decision.spatial.items():
        level = f" of {one.low / 255:.2f} and above whose peak reaches {one.high / 255:.2f}"
        level = level if decision.thresholds else ""
        parts = f"components{level} that cover at least {one.min_size} millionths of the image"
        print(f"  {visible(label)}: {parts}{', holes filled' if one.fill else ''}")
    if decision.postprocess:
        chosen = ", ".join(f"{name} = {value}" for name, value in decision.postprocess.settings.items())
        together = f", cases of a {visible(decision.postprocess.by)} together" if decision.postprocess.by else ""
        print(f"  post-processing of the experiment: {visible(chosen) or 'applied'}{together}")
    if decision.presence:
        print("  presence: " + ", ".join(f"{share:.3f} {name}" for name, share in decision.presence.shares.items()))
    if decision.calibration:
        by_fold = [one.calibration.method for one in decision.search.by_fold.values()]
        folds = f"; the folds were scored with {', '.join(by_fold)}" if by_fold else ""
        print(f"  calibration: {decision.calibration.method}{folds}")
    for stage in (decision.presence, decision.calibration):
        for what, scores in stage.scores.items():
            for metric, value in (scores or {}).items():
                change = f"{_number(value.before)} -> {_number(value.after)}"
                print(f"  {metric} of the case scores, {what.replace('_', '-')}: {change}")
    if path := write_reliability(decision):
        print(f"  reliability diagram: {shown(path)}")


def _print_baselines(decision: Decision) -> None:
    """Tuned weights beside what is simpler; all with tuned thresholds."""
    found = decision.search.baselines
    known = 1 + any(row.cross_fitted is not None for row in found.values())
    rows = ((name, *map(_number, (row.in_sample, row.cross_fitted)[:known])) for name, row in found.items())
    columns = ("weights", *("in-sample", "cross-fitted")[:known])
    print_table(f"{decision.metric} of {decision.name}", columns, rows, words=("weights",))


@command('python run.py accept exp040 --reason "renamed a variable"')
def accept(
    experiment: Experiment,
    reason: Annotated[str, typer.Option(metavar="REASON", help="why the edit changes no result; recorded")],
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Record that the code which an experiment reaches was edited since it was trained, without changing a result."""
    from heldout.train.runs import accept_code, run_folder

    config = configure(experiment, budget, settings, False)
    for name in accept_code(config, reason):
        print(f"  accepted: {name}")
    finish(run_folder(config.spec) / "accepted.json", f"train {config.spec}")


@command("python run.py freeze frac1")
def freeze(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a blend")],
    abstain: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="RISK",
            help="leave uncertain cases to people, so that the others have this risk: wrong labels, or 1 - Dice",
        ),
    ] = None,
    track: Track = None,
) -> None:
    """Seal a decision: hashes of all weights, of folds and data, and reference predictions to reproduce."""
    from heldout.blend.freeze import freeze as seal
    from heldout.track.follow import tracked

    with tracked(track, f"blends/{name}"):
        path = seal(name, abstain)
    if abstain is not None:
        from heldout.blend.decision import read_decision

        found = read_decision(name).abstention
        print(f"  abstains above {found.cut:.3f} nats: cross-fitted, {found.coverage:.1%} of the cases are answered")
        print(f"  with a risk of {_number(found.selective_risk)}; all cases have {_number(found.full_risk)}")
    finish(path, f"test {name}")


@command("python run.py test frac1", name="test")
def evaluate(
    name: Name,
    repeat: Repeat = None,
    by: By = None,
    track: Track = None,
) -> None:
    """Predict the locked test part, score it once, as a whole and by subgroup, and record the evaluation."""
    from heldout.blend.decision import load_decision
    from heldout.blend.ledger import test
    from heldout.blend.session import Session
    from heldout.cli.scores import print_subgroups
    from heldout.evaluate.subgroups import check_by, parse_by, score_subgroups
    from heldout.files import home
    from heldout.tasks.base import load_task
    from heldout.track.follow import tracked

    session, columns = Session(), parse_by(by)
    decision = load_decision(name, session)
    dataset = session.dataset(load_task(decision.members[0].spec))
    check_by(dataset.source, dataset.part("test"), columns)
    note_missing(decision, session)
    with tracked(track, f"tests/{name}"):
        result = test(decision, repeat, session)
    shown_score = _interval(result.score, result.low, result.high)
    print(f"evaluation {result.decision_evals} of this decision, {result.dataset_evals} on this test part in all")
    print(f"{name}: test {result.metric} {shown_score} on the locked part")
    if columns:
        found = score_subgroups(result.metric, result.table, decision.classes, dataset.source, columns)
        print_subgroups("of this one evaluation", found)
    finish(
        f"{shown(result.path)}, and the evaluation in {shown(home() / 'working' / 'ledger.jsonl')}", f"submit {name}"
    )


@command("python run.py submit frac1 --kaggle")
def submit(
    name: Name,
    kaggle: Annotated[
        bool, typer.Option("--kaggle", help="upload it as well, to the competition that the experiment names")
    ] = False,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="shown beside it on Kaggle; by default name and seal")
    ] = None,
) -> None:
    """Write the competition's file for the unlabeled cases, checked against its sample submission."""
    from heldout.blend.verify import open_decision
    from heldout.deliver.submission.write import submit as write

    opened = open_decision(name)
    competition = opened.config.competition
    if kaggle and not competition:
        raise UserError(f'{name} names no competition: set `competition = "its-slug"` in its experiment')
    note_missing(opened.decision, opened.session)
    path = write(opened)
    if kaggle:
        from heldout.data.kaggle import submit_file

        said = submit_file(competition, path, message or f"{name} {opened.decision.identity[:12]}")
        print(f"{competition}: {visible(said)}")
    finish(path, f"lb {name} --public SCORE" if kaggle else "leaderboard")


@command("python run.py predict frac1 --input new_patients --output predicted")
def predict(
    name: Name,
    folder: Annotated[Path, typer.Option("--input", metavar="DIR", help="new files, in the dataset's layout or loose")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="folder for masks and predictions.csv")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="list unreadable files; predict damaged ones as far as they can be read")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="write into a folder that is not empty")] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="also write uncertainty: columns, and a map per case")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="dicomseg", help="masks as DICOM segmentations of DICOM input (extra dicom)"),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="run the code of a bundle that was not written here, now and later")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="one of several parts of the folder, for a command on each machine"),
    ] = None,
    engine: EngineName = None,
    workers: Workers = None,
    gpus_per_fit: GpusPerFit = None,
    address: Address = None,
    submit: Submit = None,
) -> None:
    """Predict a folder of new patients: a mask per case under the input's name, and predictions.csv.

    NAME may also be a kernel's bundle, kaggle_kernels/frac1/dataset: that needs neither runs nor the dataset.
    Finished cases are written down: the same command goes on after them where it was killed.
    """
    from heldout.deliver.case_log import Part
    from heldout.deliver.predict_folder import check_folders

    if form not in (None, "dicomseg"):
        raise UserError(f"--format {form} is not known: write dicomseg, or leave it out for NIfTI and PNG")
    chosen = None if part is None else Part.parse(part)
    options = EngineOptions(engine, workers, gpus_per_fit, address, None, submit)
    if chosen is not None and options.is_given:
        raise UserError(
            "--part is of a command on each machine, and --engine predicts all parts: leave out one of both"
        )
    check_folders(folder.resolve(), output.resolve(), force=force)

    from heldout.launch.parts import FolderOrder, predict_parts

    bundled = (Path(name) / "bundle.json").is_file()
    order = FolderOrder(
        name=str(Path(name).resolve()) if bundled else name,
        folder=str(folder.resolve()),
        output=str(output.resolve()),
        skip_bad=skip_bad,
        force=force,
        uncertainty=uncertainty,
        dicomseg=form == "dicomseg",
        trust=trust,
    )
    if options.is_given:
        counts = predict_parts(options.make([]), order, lambda line: print(line, flush=True))
        print(", ".join(f"{count} {status}" for status, count in counts.items()))
        finish(shown(output.resolve() / "predictions.csv"))
        return
    opened = order.open()
    if not bundled:
        note_missing(opened.decision, opened.session)
    outcome = order.predict(opened, chosen)
    print(", ".join(f"{count} {status}" for status, count in outcome.counts.items()))
    masks = f" and {outcome.masks} masks" if outcome.masks else ""
    if outcome.table is None:
        finish(
            f"part {chosen}{masks}; {outcome.left} cases of other parts are left, the last of which writes the table"
        )
        return
    finish(f"{shown(outcome.table)}{masks}")


@command("python run.py overlay exp042 --case IMG0003298")
def overlay(
    name: Name,
    case: Annotated[
        str | None, typer.Option(metavar="ID", help="one case; by default a selection from worst to best")
    ] = None,
) -> None:
    """Draw out-of-fold predictions beside the truth: true positives, false positives and false negatives."""
    from heldout.report.figures import overlay as draw

    finish(draw(name, case))


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.4f}"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval, or why there is none."""
    if _number(value) == "undefined":
        return "undefined (it needs cases with and without the class)"
    if "undefined" in (_number(low), _number(high)):
        return f"{_number(value)} (too few patients for an interval)"
    return f"{_number(value)} [{_number(low)}, {_number(high)}]"
