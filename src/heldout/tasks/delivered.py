"""Hooks that act on what a blend says of cases, after all training: its last step, and the file of a competition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    Blended = Any  # of heldout.blend, which is built on this


class Delivered:
    """What every task does with its results, unless an experiment overrides it."""

    def file_id(self, path: str) -> str | None:  # noqa: ARG002 - a hook
        """What a competition calls a case, from the path of its image below the dataset; None is its case id.

        Example:
            >>> from heldout.tasks import Classify2D
            >>> class Named(Classify2D):
            ...     def file_id(self, path):
            ...         return path.rpartition("/")[2].removesuffix(".png")
            >>> Named().file_id("images/0012.png")
            '0012'
        """
        return None

    def postprocess(self, result: Blended, **settings: Any) -> Blended:  # noqa: ARG002 - a hook
        """Change what a blend says of a case, at its very end; tuned and cross-fitted as thresholds are.

        Args:
            result: Of one case: ``scores`` (K,) float32, calibrated, and, of segmentations, ``map`` (K, *S) uint8 and
                ``mask`` (M, *S) uint8, or M = 1 label map of exclusive classes.
            settings: One value of each entry of ``postprocess_choices``.

        Returns:
            ``dataclasses.replace(result, mask=..., scores=...)``, of the same shapes and types.

        Example:
            >>> from dataclasses import make_dataclass, replace
            >>> import numpy as np
            >>> from heldout.tasks import Classify2D
            >>> class Bounded(Classify2D):
            ...     postprocess_choices = {"most": (0.9, 1.0)}
            ...     def postprocess(self, result, most):
            ...         return replace(result, scores=result.scores.clip(0, most))
            >>> case = make_dataclass("Case", ["case_id", "scores"])("0012", np.array([0.95]))
            >>> Bounded().postprocess(case, most=0.9).scores.tolist()
            [0.9]
        """
        return result

    def postprocess_slices(
        self,
        results: Sequence[Blended],
        **settings: Any,  # noqa: ARG002 - a hook
    ) -> Sequence[Blended]:
        """Change the masks of images that are slices of one volume, seen together; tuned as :meth:`postprocess` is.

        Args:
            results: Of every case of one patient, or of what ``postprocess_by`` names, in the order of their ids: as
                :meth:`postprocess` gets them.
            settings: One value of each entry of ``postprocess_choices``.

        Returns:
            The same cases, each ``dataclasses.replace(result, mask=...)``, with masks of the same shapes.

        Example:
            >>> from dataclasses import make_dataclass, replace
            >>> import numpy as np
            >>> from heldout.tasks import Segment2D
            >>> class Lasting(Segment2D):
            ...     postprocess_choices = {"min_slices": (0, 2)}
            ...     def postprocess_slices(self, results, min_slices):
            ...         shown = sum(result.mask for result in results) >= min_slices
            ...         return [replace(result, mask=result.mask * shown) for result in results]
            >>> Case = make_dataclass("Case", ["case_id", "mask"])
            >>> slices = [Case("p1_1", np.array([[1, 1]])), Case("p1_2", np.array([[0, 1]]))]
            >>> [result.mask.tolist() for result in Lasting().postprocess_slices(slices, min_slices=2)]
            [[[0, 1]], [[0, 1]]]
        """
        return results

    def postprocess_table(self, table: pd.DataFrame, **settings: Any) -> pd.DataFrame:  # noqa: ARG002 - a hook
        """Change what a blend says of the cases of a patient, who are seen together; tuned as :meth:`postprocess` is.

        Args:
            table: A row per case of one patient, or of what ``postprocess_by`` names, in the order of their ids:
                ``case_id`` and ``p_<class>``, calibrated, of a classification or regression.
            settings: One value of each entry of ``postprocess_choices``.

        Returns:
            The same rows with other ``p_<class>``.

        Example:
            >>> import pandas as pd
            >>> from heldout.tasks import Classify2D
            >>> class Alike(Classify2D):
            ...     postprocess_choices = {"share": (0.0, 0.5, 1.0)}
            ...     def postprocess_table(self, table, share):
            ...         mean = table["p_edema"].mean()
            ...         return table.assign(p_edema=(1 - share) * table["p_edema"] + share * mean)
            >>> cases = pd.DataFrame({"case_id": ["p1_l", "p1_r"], "p_edema": [0.25, 0.75]})
            >>> Alike().postprocess_table(cases, share=0.5)["p_edema"].tolist()
            [0.375, 0.625]
        """
        return table

    def postprocess_detections(self, found: pd.DataFrame, **settings: Any) -> pd.DataFrame:  # noqa: ARG002 - a hook
        """Change what a blend detects in a case; tuned as :meth:`postprocess` is.

        Args:
            found: A row per detection, the surest first: ``class`` (name), ``score`` (0 ... 1), the coordinates ``x``
                and ``y``, in volumes ``z`` too, and, of boxes, their sizes ``w``, ``h`` and ``d``, as in
                ``detections.csv``. A box begins at its coordinates; all are in pixels or voxels of the case's file,
                counted from the edge of the first one.
            settings: One value of each entry of ``postprocess_choices``.

        Returns:
            A table with these columns, of any rows in any order. What reaches the threshold of its class afterwards
            is kept.

        Example:
            >>> import pandas as pd
            >>> from heldout.tasks import Detect2D
            >>> class Larger(Detect2D):
            ...     postprocess_choices = {"smallest": (0, 4, 8)}
            ...     def postprocess_detections(self, found, smallest):
            ...         return found[found[["w", "h"]].min(axis=1) >= smallest]
            >>> found = pd.DataFrame({"class": "nodule", "score": [0.9, 0.4], "x": 3, "y": 5, "w": [9, 2], "h": 8})
            >>> Larger().postprocess_detections(found, smallest=4)["score"].tolist()
            [0.9]
        """
        return found

    def write_submission(self, results: Iterable[Blended], stem: Path) -> Path | None:  # noqa: ARG002 - a hook
        r"""Write a submission of a form of your own; None writes what ``submission`` names.

        Args:
            results: One for each case, as it is predicted, with ``case_id``, ``scores`` (K,) and, of segmentations,
                ``mask`` (M, *S) uint8.
            stem: Path of the file without an ending.

        Returns:
            The file.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from types import SimpleNamespace
            >>> from heldout.tasks import Classify2D
            >>> class Lines(Classify2D):
            ...     def write_submission(self, results, stem):
            ...         path = stem.with_suffix(".csv")
            ...         lines = [f"{result.case_id},{result.scores[0]:.2f}" for result in results]
            ...         path.write_text("\n".join(["id,target", *lines]))
            ...         return path
            >>> results = [SimpleNamespace(case_id="0012", scores=[0.25])]
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     print(Lines().write_submission(results, Path(folder) / "frac1").read_text())
            id,target
            0012,0.25
        """
        return None
