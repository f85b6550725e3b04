from __future__ import annotations

import numpy as np
import pytest
import torch

from heldout.data.cases import open_dataset
from heldout.data.prepare import open_prepared
from heldout.errors import UserError
from heldout.train.failures import explained
from heldout.train.loader import Batches, _show_in_loader
from tests.train.exp901 import Exp901


def make(key=(0, 0), fold=0, **overrides) -> Batches:
    config = Exp901.create(overrides=overrides)
    dataset = open_dataset(config)
    return Batches(config, dataset, open_prepared(dataset, config, progress=False), dataset.fold_cases(fold)[0], key)


def epochs(batches: Batches, count: int = 2) -> list[dict[str, torch.Tensor]]:
    return [
        {name: torch.cat([batch[name] for batch in whole]) for name in whole[0]}
        for whole in (list(batches.epoch(number)) for number in range(count))
    ]


def test_results_do_not_depend_on_workers_and_all_draws_differ(squares):
    without, with_two = epochs(make(workers=0)), epochs(make(workers=2))
    for one, two in zip(without, with_two, strict=True):
        assert one.keys() == two.keys() == {"image", "label", "mask"}
        assert all(torch.equal(one[name], two[name]) for name in one)
    images = torch.cat([epoch["image"] for epoch in with_two])
    assert len({image.numpy().tobytes() for image in images}) == len(images)


def test_seeds_and_folds_see_other_samples(squares):
    first = epochs(make((0, 0)), 1)[0]["image"]
    assert not torch.equal(first, epochs(make((1, 0)), 1)[0]["image"])
    assert torch.equal(first, epochs(make((0, 0)), 1)[0]["image"])


def test_what_a_batch_holds(squares):
    batches = make(batch_size=3, steps_per_epoch=2, foreground_fraction=1.0, positive_fraction=0.99)
    found = list(batches.epoch(0))
    assert len(found) == len(batches) == 2
    for batch in found:
        assert batch["image"].shape == batch["mask"].shape == (3, 1, 24, 24)
        assert batch["image"].dtype == batch["label"].dtype == torch.float32
        assert batch["mask"].dtype == torch.uint8
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 1


def test_foreground_patches_show_foreground(squares):
    always = make(foreground_fraction=1.0, positive_fraction=0.99, patch_size=(12, 12), augment="none")
    never = make(foreground_fraction=0.0, positive_fraction=0.99, patch_size=(12, 12), augment="none")
    shown = [np.mean([mask.any().item() for epoch in epochs(b, 8) for mask in epoch["mask"]]) for b in (always, never)]
    assert shown[0] > 0.95
    assert shown[1] < 0.9


def test_cases_of_unlike_shapes_are_named(squares):
    path = squares.parent / "raw" / "squares"
    for name in ("image", "mask"):
        np.save(path / f"c001.{name}.npy", np.load(path / f"c001.{name}.npy")[:, :20])
    fold = 1 - int(open_dataset(Exp901.create(overrides={"test_fraction": 0.0})).folds["c001"])
    with pytest.raises(UserError, match=r"cannot share a batch: set patch_size or image_size"):
        make(patch_size=None, fold=fold, test_fraction=0.0)


def test_errors_in_workers_keep_their_sentence(squares):
    batches = make(workers=1)
    batches.loader.dataset.prepared.entries.clear()
    message = r"^case c\d+ was not prepared: open it with the part that it is in$"
    with pytest.raises(UserError, match=message), explained(squares):
        next(batches.epoch(0))


@pytest.mark.parametrize(
    ("error", "shown"), [(ConnectionResetError(104), False), (EOFError(), False), (ValueError("x"), True)]
)
def test_a_loading_process_says_nothing_of_the_training_s_end(capsys, error, shown):
    _show_in_loader(type(error), error, None)
    assert bool(capsys.readouterr().err) == shown
