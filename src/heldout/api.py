"""What notebooks use, as ``import heldout as ho``: runs, blends and the leaderboard as data frames and figures.

Everything is read from the files that the commands write, and follows their rules: scores are of held-out predictions
at cross-fitted thresholds, and a figure of a case is of the networks that never saw its patient.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from heldout import files
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.evaluate.compare import Verdict
    from heldout.evaluate.held_out import HeldOut

# what the board shows above its tables or within a cell, beside its columns
_BESIDE = ("kind", "dataset", "metric", "low", "high", "threshold", "cases", "patients", "planned", "complete")


@dataclass(frozen=True)
class Figure:
    """A figure that Jupyter shows.

    Attributes:
        png: Content of a PNG file.
        title: What it shows.
    """

    png: bytes
    title: str

    def save(self, path: str | Path) -> Path:
        """Write the PNG file.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Figure(b"...", "a case").save(Path(folder) / "case.png").name
            'case.png'
        """
        files.write_bytes(Path(path), self.png)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True, eq=False)
class Run:
    """A run or a blend with its held-out predictions. Make it with :func:`run` or :func:`blend`.

    Attributes:
        held_out: Everything known of its predictions.
    """

    held_out: HeldOut

    @property
    def name(self) -> str:
        """Spec of the run, or name of the blend."""
        return self.held_out.name

    @property
    def metric(self) -> str:
        """Name of the score that ranks it."""
        return self.held_out.metric

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.held_out.classes

    @cached_property
    def oof(self) -> pd.DataFrame:
        """A row per case as it counts for the ranking: case_id, patient_id, fold, ``y_``, ``p_``, ``d_<class>`` ...

        Raises:
            UserError: a blend of one fold has no cross-fitted predictions, or a file changed.

        Example:
            >>> list(run("exp004").oof)[:3]
            ['case_id', 'patient_id', 'fold']
        """
        return self.held_out.ranking_table.copy()

    def scores(self, *metrics: str) -> pd.DataFrame:
        """Scores with their 95 % intervals over patients.

        Args:
            metrics: Names; none takes the one that ranks and all others that these predictions allow.

        Returns:
            Indexed by metric: ``score``, ``low``, ``high``, ``higher_is_better``.

        Raises:
            UserError: there is no such metric, or it cannot score these predictions.

        Example:
            >>> scores = run("exp004").scores("roc_auc", "brier")
            >>> scores["higher_is_better"].to_dict()
            {'roc_auc': True, 'brier': False}
        """
        import pandas as pd

        from heldout.metrics import METRICS, get_metric, interval

        wanted = metrics or (self.metric, *(name for name, one in METRICS.items() if one.kind == self.held_out.kind))
        found: dict[str, tuple[float, float, float, bool]] = {}
        for name in wanted:
            try:
                one = interval(name, self.oof, self.classes)
            except UserError:  # of the metrics that nobody named, one that needs what was not measured
                if metrics:
                    raise
                continue
            found[name] = (one.value, one.low, one.high, get_metric(name).higher_is_better)
        table = pd.DataFrame.from_dict(found, orient="index", columns=["score", "low", "high", "higher_is_better"])
        return table.rename_axis("metric")

    def by(self, *columns: str, metric: str | None = None) -> pd.DataFrame:
        """The score of subgroups with their intervals.

        Args:
            columns: Columns of the dataset's own tables, such as ``site``, or ``age:3`` for numbers in thirds.
            metric: Name of the score; None is the one that ranks.

        Raises:
            UserError: no table has such a column.

        Example:
            >>> run("exp004").by("fold")["by"].tolist()
            ['all cases', 'fold', 'fold']
        """
        import pandas as pd

        from heldout.evaluate.subgroups import score_subgroups

        source = self.held_out.dataset.source
        return pd.DataFrame(
            [vars(one) for one in score_subgroups(metric or self.metric, self.oof, self.classes, source, columns)]
        )

    def show(self, case_id: str) -> Figure:
        """Draw a case: its image, its truth, and what was predicted while it was held out.

        Raises:
            UserError: no finished fold held out the case.

        Example:
            >>> one = run("exp004")
            >>> one.show(one.oof["case_id"][0]).png[1:4]
            b'PNG'
        """
        from heldout.report.figures import draw_case

        self.held_out.check_predicted(case_id)
        title = f"{self.name}: {case_id}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.png"
            draw_case(self.held_out, case_id, title, path)
            return Figure(path.read_bytes(), title)

    def worst(self, count: int = 10) -> pd.DataFrame:
        """The cases with the largest errors; of segmentations, of cases with foreground, those with the lowest Dice.

        Masks of a run are cut at one half here and in :meth:`show`, those of a blend at its cross-fitted thresholds.

        Raises:
            UserError: ``count`` is not 1 or more.

        Example:
            >>> run("exp004").worst(3)["error"].is_monotonic_decreasing
            True
        """
        if count < 1:
            raise UserError(f"worst takes a number of cases: write 1 or more, not {count}")
        scores = self.held_out.case_scores
        if "dice" in scores:
            return scores[scores["n_true"] > 0].sort_values("dice", kind="stable").head(count).reset_index(drop=True)
        return scores.sort_values("error", ascending=False, kind="stable").head(count).reset_index(drop=True)

    def __repr__(self) -> str:
        """Name and score."""
        one = self.scores(self.metric).iloc[0]
        return f"<{self.name}: {self.metric} {one.score:.4f} [{one.low:.4f}, {one.high:.4f}], {len(self.oof)} cases>"

    def _repr_html_(self) -> str:
        table = self.scores()[["score", "low", "high"]]
        return f"<b>{escape(self.name)}</b>{table.to_html(float_format=lambda value: f'{value:.4f}')}"


def run(name: str) -> Run:
    """Open a run or a blend.

    Args:
        name: Spec of a run (``exp042``, ``exp042@quick``, ``exp042/seed1``), or name of a blend.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.

    Example:
        >>> one = run("exp004")
        >>> one.name, one.metric, one.classes
        ('exp004', 'roc_auc', ('small', 'large'))
    """
    from heldout.evaluate.held_out import open_held_out

    return Run(open_held_out(name))


def blend(members: Sequence[str], name: str | None = None, **options: Any) -> Run:
    """Tune a blend on out-of-fold predictions, as the command ``blend`` does, and open it.

    Args:
        members: Finished experiments; see :func:`heldout.blend.members.load_member`.
        name: Name of the blend; None makes one of its members. An earlier blend of that name is replaced unless sealed.
        options: Further arguments of :func:`heldout.blend.search.blend`, such as ``metric``, ``sampler``, ``trials``.

    Raises:
        UserError: the members do not belong together, or a sealed blend has this name.

    Example:
        >>> blend(["exp004", "exp004+lr=0.01"], "both", trials=4).name
        'both'
    """
    from heldout.blend.search import blend as search

    if isinstance(members, str):
        raise UserError(f"blend takes a list of members: write [{members!r}]")
    if not members:
        raise UserError('blend needs a member: write names of finished experiments, such as ["exp040", "exp042"]')
    chosen = name or f"blend_{files.sha256_json([list(members), sorted(options.items())])[:8]}"
    return run(search(list(members), chosen, **{"progress": False, **options}).name)


def leaderboard() -> pd.DataFrame:
    """All runs and blends, as the command ``leaderboard`` ranks them: best first within dataset and metric.

    Returns:
        A column for each of the leaderboard's, named as in ``leaderboard --json``, and ``kind``, ``low``, ``high`` ...

    Example:
        >>> board = leaderboard()
        >>> board.loc[board["kind"] == "run", "name"].tolist()
        ['exp004+lr=0.01', 'exp004']
    """
    import pandas as pd

    from heldout.evaluate.collect import collect
    from heldout.report.columns import COLUMNS

    keys = list(dict.fromkeys(("name", *_BESIDE, "budget", "sealed", *(column.name for column in COLUMNS))))
    return pd.DataFrame([{key: getattr(row, key) for key in keys} for row in collect()], columns=keys)


def compare(first: str | Run, second: str | Run) -> Verdict:
    """Compare two runs or blends on the cases that both predicted: paired difference with its interval.

    Raises:
        UserError: one does not exist, or the two do not compare.

    Example:
        >>> compare("exp004", "exp004+lr=0.01").better
        'exp004+lr=0.01'
    """
    from heldout.evaluate.compare import compare_held_out

    one, other = (run(part) if isinstance(part, str) else part for part in (first, second))
    return compare_held_out(one.held_out, other.held_out)
