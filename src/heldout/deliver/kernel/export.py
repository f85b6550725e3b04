"""``kernel``: write notebook and bundle, replay them on local cases, and keep them only if they agree."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heldout import files
from heldout.blend.decision import Decision
from heldout.config import load
from heldout.deliver.kernel.bundle import complete_bundle, read_bundle, write_bundle
from heldout.deliver.kernel.local import local_rows, local_submission, some_cases
from heldout.deliver.kernel.notebook import Kernel, write_dataset_metadata, write_notebook
from heldout.deliver.kernel.packages import check_packages
from heldout.deliver.kernel.replay import Replay, replay
from heldout.deliver.kernel.rsna2025.server import check_served


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


def export(decision: Decision, kernel: Kernel, cases: Path | None = None, wheels: Sequence[Path] = ()) -> Export:
    """Write ``kaggle_kernels/<name>/`` and prove that it predicts what the local pipeline predicts.

    Args:
        decision: A verified decision.
        kernel: How it is to be written.
        cases: Folder of cases to replay on, of series folders for a server; None takes a few of the dataset.
        wheels: Wheels of packages that Kaggle's image lacks.

    Raises:
        UserError: the kernel fails or differs; an earlier export of that name stays as it was.
    """
    if kernel.mode == "server":
        check_served(decision, load(decision.members[0].spec))
    target = files.home() / "kaggle_kernels" / decision.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{decision.name}.") as temporary:
        draft = Path(temporary) / decision.name
        bundle = write_bundle(decision, draft / "dataset", wheels)
        write_dataset_metadata(draft / "dataset", decision.name, kernel.user)
        script = write_notebook(draft / "notebook", decision.name, kernel)
        folder = cases or some_cases(decision, Path(temporary) / "cases", kernel.mode)
        local = local_rows if kernel.mode == "server" else local_submission
        shown = replay(
            script, bundle.folder, folder, local(decision, folder, Path(temporary) / "local"), mode=kernel.mode
        )
        wanted, carried, missing = complete_bundle(bundle, shown.packages)
        check_packages(bundle.folder)
        read_bundle(bundle.folder)
        if target.exists():  # moved, not deleted: a kill here loses nothing
            target.rename(Path(temporary) / "before")
        draft.rename(target)
    return Export(target, shown, wanted, tuple(carried), tuple(missing))
