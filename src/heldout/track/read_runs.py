"""Fits and their experiment as trackers are told of them. Free of torch; scores with intervals need pandas."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from heldout import files
from heldout.errors import UserError
from heldout.track.subject import Point, Subject
from heldout.train.record import ConfigRecord, read_config, read_run
from heldout.train.runs import run_folder


def read_run_subjects(spec: str, final: bool) -> Iterator[Subject]:
    """An experiment and its fits, finished or in training."""
    folders = sorted(path.parent for path in run_folder(spec).glob("seed*/fold*/config.json"))
    if not folders:
        return
    source = f"runs/{spec}"
    fits = [_fit(folder, source, spec) for folder in folders]
    config = read_config(folders[0])
    yield _experiment(config, source, spec, fits, final)
    yield from fits


def _fit(folder: Path, source: str, spec: str) -> Subject:
    config, place = read_config(folder), f"{folder.parent.name}/{folder.name}"
    made_from = {f"made_from.{name}": value for name, value in config.made_from.to_json().items()}
    tags = {**_lineage(config), "seed": folder.parent.name[4:], "fold": folder.name[4:], **made_from}
    summary: dict[str, float] = {}
    record = read_run(folder) if (folder / "run.json").exists() else None
    if record is not None:
        tags |= {
            **{"machine": record.machine, "torch": record.torch, "checkpoint": record.checkpoint},
            **{"precision": record.precision, "sha256.weights": record.sha256.weights},
            **{"sha256.oof": record.sha256.oof, "sha256.maps": files.sha256_json(record.sha256.maps)},
        }
        summary = {"parameters": record.parameters, "train_seconds": float(record.train_seconds)}
        if record.score is not None:
            summary[record.metric] = float(record.score)
    attached = [folder / name for name in ("config.json", "metrics.csv", "run.json")]
    curves = folder / "curves.png"
    return Subject(
        key=f"{source}/{place}",
        source=source,
        kind="fit",
        name=f"{spec} {folder.parent.name} {folder.name}",
        project=config.settings.dataset,
        group=spec,
        parent=source,
        config=config.config,
        tags=tags,
        points=_epochs(folder / "metrics.csv"),
        system=read_samples(system_file(f"{source}/{place}")),
        summary=summary,
        images={"curves": curves} if curves.exists() else {},
        attached=[path for path in attached if path.exists()],
        finished=record is not None,
    )


def _lineage(config: ConfigRecord) -> dict[str, str]:
    return {
        **{"experiment": config.spec, "title": config.title, "parent_experiment": config.parent or ""},
        **{"identity": config.identity_hash, "data_hash": config.data_hash, "fold_hash": config.fold_hash},
        "code": files.sha256_json(config.code or {}),
    }


def _experiment(config: ConfigRecord, source: str, spec: str, fits: Sequence[Subject], final: bool) -> Subject:
    """The whole of the fits: their mean curves once all are finished, and the score of all held-out cases."""
    summary: dict[str, float] = {}
    points: list[Point] = []
    images: dict[str, Path] = {}
    row = None
    if final and any(fit.finished for fit in fits):
        from heldout.evaluate.collect import run_row

        row = run_row(spec)
    if row is not None:
        scores = {row.metric: row.score, f"{row.metric}_low": row.low, f"{row.metric}_high": row.high}
        by_fold = {f"fold{fold}/{row.metric}": value for fold, value in row.fold_scores.items()}
        spread = {"fold_spread": row.fold_spread, "seed_spread": row.seed_spread}
        counts = {"cases": row.cases, "patients": row.patients, "fits": row.done, "train_seconds": row.seconds}
        summary = known({**scores, **by_fold, **spread, **counts})
        images = overlay_of(spec, max(path.stat().st_mtime for path in run_folder(spec).glob("seed*/fold*/run.json")))
        if row.complete:
            points = _mean([fit.points for fit in fits])
    return Subject(
        key=source,
        source=source,
        kind="experiment",
        name=f"{spec} all fits",
        project=config.settings.dataset,
        group=spec,
        config=config.config,
        tags=_lineage(config),
        points=points,
        summary=summary,
        images=images,
        finished=row is not None and row.complete,
    )


def _mean(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """Mean of the fits, epoch by epoch, as far as all of them came."""
    together = list(zip(*curves, strict=False))
    shared = [set.intersection(*(set(point.values) for point in points)) for points in together]
    return [
        Point(
            points[0].step,
            max(point.time for point in points),
            {name: fmean(point.values[name] for point in points) for name in sorted(names)},
        )
        for points, names in zip(together, shared, strict=True)
    ]


def _epochs(path: Path) -> list[Point]:
    """Rows of ``metrics.csv``; their times are counted back from the file's."""
    if not path.exists():
        return []
    epochs = _table(path)
    left = [sum(one.get("seconds", 0.0) for one in epochs[place + 1 :]) for place in range(len(epochs))]
    written = path.stat().st_mtime
    return [Point(int(one.pop("epoch")), written - after, one) for one, after in zip(epochs, left, strict=True)]


def _table(path: Path) -> list[dict[str, float]]:
    """Numbers of a table of comma-separated values, row by row."""
    found = []
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
        values = {}
        for name, text in row.items():
            with contextlib.suppress(TypeError, ValueError):
                values[name] = float(text)
        found.append(values)
    return found


def system_file(key: str) -> Path:
    """Where the use of the machine during a fit is kept."""
    return files.home() / "working" / "track" / "system" / f"{key}.csv"


def read_samples(path: Path) -> list[Point]:
    """Samples that :class:`heldout.track.system.Sampler` took."""
    samples = [one for one in (_table(path) if path.exists() else []) if "time" in one]
    return [Point(number, one.pop("time"), one) for number, one in enumerate(samples)]


def overlay_of(name: str, made: float) -> dict[str, Path]:
    """A picture of held-out cases, from the worst to the best; none where the dataset is not at hand.

    Args:
        name: A run or a blend.
        made: When its predictions were; an earlier picture is drawn anew.
    """
    path = files.home() / "working" / "track" / "overlays" / f"{name}.png"
    if not path.exists() or path.stat().st_mtime < made:
        from heldout.evaluate.held_out import open_held_out
        from heldout.report.figures import draw_selection

        try:
            held = open_held_out(name)
            draw_selection(held, f"{name} on {held.dataset_name}, out-of-fold", path)
        except UserError:
            return {}
    return {"overlays": path}


def known(values: Mapping[str, Any]) -> dict[str, float]:
    """Values that are not None."""
    return {name: float(value) for name, value in values.items() if value is not None}
