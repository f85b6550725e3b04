"""Hard negatives: training cases without any class for which the network sees one all the same.

Every few epochs the averaged network predicts the fold's own negative training cases, never those held out, and the
ones with the highest scores are drawn more often until the next choice (bootstrapping, Sung and Poggio 1994; online
for networks: Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540). With patches, a hard negative is the patch
around the case's most probable voxel: the place of the false alarm, not merely its case.

Each choice is a file of the run, ``hard_negatives/epoch<number>.csv``; training reads it back from there, so that a
resumed run draws what an uninterrupted one does.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from heldout import files
from heldout.data.geometry import Geometry
from heldout.data.prepare import Prepared
from heldout.errors import UserError
from heldout.metrics.ignored import hide
from heldout.predict.prediction import Prediction, score_known
from heldout.predict.run import predict_cases
from heldout.tasks import Task
from heldout.train.display import Display
from heldout.train.loader import HardNegative
from heldout.train.record import MinedRecord
from heldout.train.sampling import derive_seed
from heldout.train.team import ALONE, Team

COLUMNS = ("epoch", "case_id", "score", "hard", "focus")


@dataclass(frozen=True, eq=False)
class Miner:
    """Chooses hard negatives among the training cases of a fold.

    Attributes:
        config: The experiment.
        prepared: Prepared arrays.
        cases: Rows of the training cases.
        classes: Names of the classes.
        exclusive: The classes exclude each other.
        device: Where to compute.
        key: Seed and fold.
    """

    config: Task
    prepared: Prepared
    cases: pd.DataFrame
    classes: tuple[str, ...]
    exclusive: bool
    device: torch.device
    key: tuple[int, int]
    team: Team = ALONE

    def is_due(self, epoch: int) -> bool:
        """Whether a choice follows the epoch, counted from 1; none follows the last."""
        config = self.config
        return config.hard_negative_fraction > 0 and epoch % config.mine_every == 0 and epoch < config.epochs

    def mine(self, network: nn.Module, epoch: int, folder: Path, display: Display) -> MinedRecord:
        """Score negatives and write which are hard: the share 1 - ``hard_negative_quantile`` with the highest scores.

        The score of a case is its highest probability of a class: of a segmentation the presence of its map, or what
        a second head says.

        Args:
            network: The averaged network.
            epoch: Finished epochs.
            folder: The fold's folder.
            display: Shows how far it is.

        Returns:
            What the run's record says of the choice.

        Raises:
            UserError: no training case is negative.
        """
        names = self._sample(epoch)
        own = self.team.share(names)
        scored = []
        for prediction in display.track(self._predict(network, own), len(own), "scoring negatives"):
            scored.append((float(prediction.scores.max()), prediction.case_id, self._focus(prediction)))
        scored = [row for part in self.team.gather(scored) for row in part]
        # ties are broken by case id, for determinism
        scored.sort(key=lambda row: (-row[0], row[1]))
        hard = math.ceil((1 - self.config.hard_negative_quantile) * len(scored))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rank, (score, case_id, focus) in enumerate(scored):
            writer.writerow([epoch, case_id, repr(score), int(rank < hard), " ".join(map(str, focus))])
        name, data = f"hard_negatives/epoch{epoch:03d}.csv", text.getvalue().encode()
        if self.team.is_first:
            files.write_bytes(folder / name, data)
        self.team.wait()
        digest = hashlib.sha256(data).hexdigest()
        return MinedRecord(epoch=epoch, file=name, sha256=digest, scored=len(scored), hard=hard)

    def _sample(self, epoch: int) -> list[str]:
        """Case ids of the negatives to score."""
        labels = self.cases[[f"y_{name}" for name in self.classes]].to_numpy()
        names = np.array(self.cases["case_id"].to_list(), dtype=np.str_)[~(labels > 0).any(axis=1)]
        if len(names) == 0:
            raise UserError("hard_negative_fraction needs negative training cases, but all are positive: unset it")
        most = self.config.mine_cases or len(names)
        if most < len(names):
            generator = np.random.default_rng(derive_seed(*self.key, epoch, "mining"))
            names = names[np.sort(generator.choice(len(names), most, replace=False))]
        return names.tolist()

    def _predict(self, network: nn.Module, names: Sequence[str]) -> Iterator[Prediction]:
        cases = ((name, self.prepared.image(name), _prepared_grid(self.prepared.geometry(name))) for name in names)
        answers = predict_cases(self.config, [network], cases, exclusive=self.exclusive, device=self.device, tta="")
        return (self._known(answer[0]) for answer in answers)

    def _known(self, prediction: Prediction) -> Prediction:
        """The prediction without the voxels that the case's mask ignores."""
        if prediction.map is None:
            return prediction
        geometry = self.prepared.geometry(prediction.case_id)
        box = (slice(at, at + size) for at, size in zip(geometry.offset, geometry.resized, strict=True))
        truth = self.prepared.mask(prediction.case_id)[:, *box]
        known = score_known(prediction, truth, two_heads=self.config.two_heads)
        return known if known is prediction else replace(known, map=hide(prediction.map, truth))

    def _focus(self, prediction: Prediction) -> tuple[int, ...]:
        """The most probable voxel of a case, on its prepared grid; the middle one of those that are equal."""
        if prediction.map is None:
            return ()
        highest = prediction.map.max(axis=0)
        found = np.argwhere(highest == highest.max())
        offset = self.prepared.geometry(prediction.case_id).offset
        return tuple(int(at) + by for at, by in zip(found[len(found) // 2], offset, strict=True))


def read_hard_negatives(folder: Path, record: MinedRecord, case_ids: np.ndarray) -> list[HardNegative]:
    """Read the hard negatives of a choice.

    Args:
        folder: The fold's folder.
        record: What :meth:`Miner.mine` returned.
        case_ids: Ids of the training cases, which decide about their indices.

    Raises:
        UserError: the file is missing or was changed.
    """
    path = folder / record.file
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise UserError(f"{path} is missing or was changed during training: restore it, or delete the folder {folder}")
    index = {case_id: position for position, case_id in enumerate(case_ids.tolist())}
    rows = csv.DictReader(io.StringIO(data.decode()))
    return [
        HardNegative(index[row["case_id"]], tuple(map(int, row["focus"].split())) or None)
        for row in rows
        if row["hard"] == "1"
    ]


def _prepared_grid(geometry: Geometry) -> Geometry:
    """The way back from a prepared array to its content at that size: only the padding is cut off."""
    size, dimensions = geometry.resized, len(geometry.resized)
    return Geometry(
        original=size,
        content_start=(0,) * dimensions,
        content=size,
        axes=tuple(range(dimensions)),
        flips=(False,) * dimensions,
        start=(0,) * dimensions,
        cropped=size,
        resized=size,
        offset=geometry.offset,
        prepared=geometry.prepared,
    )
