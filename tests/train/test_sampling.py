from __future__ import annotations

import numpy as np
import pytest

from heldout.data.patches import cut_patch
from heldout.errors import UserError
from heldout.train.sampling import derive_seed, draw_cases, draw_patch, epoch_length


def test_neighboring_places_have_unrelated_seeds():
    seeds = {derive_seed(0, fold, epoch, position) for fold in range(5) for epoch in range(5) for position in range(50)}
    assert len(seeds) == 5 * 5 * 50
    assert derive_seed(1, 11) != derive_seed(11, 1)


def test_an_epoch_has_full_batches_and_shows_every_case():
    assert epoch_length(10, 4, None) == 12
    assert epoch_length(10, 4, 7) == 28
    drawn = draw_cases(np.zeros(10, bool), 12, None, np.random.default_rng(0))
    assert np.bincount(drawn, minlength=10).tolist().count(1) == 8
    assert set(drawn) == set(range(10))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_rare_positives_get_their_share(share):
    positive = np.zeros(200, bool)
    positive[:7] = True
    draws = [draw_cases(positive, 33, share, np.random.default_rng(epoch)) for epoch in range(400)]
    assert np.mean([positive[drawn].mean() for drawn in draws]) == pytest.approx(share, abs=0.003)
    counts = np.bincount(np.concatenate(draws), minlength=200)
    assert counts[:7].max() / counts[:7].min() < 1.3, "every positive case is as welcome as any other"


def test_a_share_of_positives_needs_both_kinds():
    with pytest.raises(UserError, match=r"positive_fraction = 0.5 .* all are positive: unset it"):
        draw_cases(np.ones(5, bool), 10, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("size", [(50, 40), (20, 60), (10, 12)])
def test_foreground_patches_hold_their_voxel(size):
    generator = np.random.default_rng(0)
    foreground = np.array([[0, size[0] - 1, size[1] - 1], [0, 0, 0], [1, size[0] // 2, 3]], np.int32)
    classes = []
    for _ in range(300):
        start = draw_patch(size, (16, 16), foreground, generator)
        inside = [all(s <= at < s + 16 for s, at in zip(start, voxel[1:], strict=True)) for voxel in foreground]
        assert any(inside)
        classes.append(inside[2] and not inside[0] and not inside[1])
        for first, length in zip(start, size, strict=True):
            assert 0 <= first <= length - 16 if length >= 16 else first <= 0 and first + 16 >= length
    if size == (50, 40):
        assert 0.35 < np.mean(classes) < 0.65, "classes are drawn alike, whatever their number of voxels"


def test_uniform_patches_reach_every_corner():
    generator = np.random.default_rng(0)
    starts = {draw_patch((6, 5), (4, 4), None, generator) for _ in range(200)}
    assert starts == {(row, column) for row in range(3) for column in range(2)}


def test_a_patch_beyond_a_small_case_is_padded_evenly():
    array = np.arange(1, 7).reshape(1, 2, 3)
    start = draw_patch((2, 3), (4, 2), np.array([[0, 1, 2]]), np.random.default_rng(0))
    assert start[0] == -1
    patch = cut_patch(array, (-1, 1), (4, 2))
    assert patch[0].tolist() == [[0, 0], [2, 3], [5, 6], [0, 0]]


def test_only_the_patch_is_read(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (1, 64, 64))
    patch = cut_patch(array, (3, 4), (8, 8))
    assert type(patch) is np.ndarray
    assert patch.flags.owndata
