"""Presence scores are the same from histograms and from maps; shares are tuned, and applied as they were tuned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import join
from heldout.blend.presence import fuse, levels_of_map, map_scores
from heldout.blend.values import blend_maps, to_thousandths
from heldout.predict.prediction import presence


@st.composite
def blends(draw):
    members, cases, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    exclusive = draw(st.booleans()) and classes > 1
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(6, 7), (3, 4, 5)]))
    levels = draw(st.sampled_from([np.array([0, 127, 128, 255]), np.arange(256)]))
    maps = random.choice(levels, (cases, members, classes, *shape)).astype(np.uint8)
    maps[random.random(maps.shape) < 0.6] = 0
    maps[random.random(cases) < 0.3] = 0
    truth = random.integers(0, classes + 1 if exclusive else 2, (cases, classes, *shape)).astype(np.uint8)
    thresholds = () if exclusive else tuple(int(t) for t in random.integers(0, 256, classes))
    return maps, truth, thresholds, exclusive, to_thousandths(random.dirichlet(np.ones(members))), random


@settings(max_examples=80, deadline=None)
@given(blends())
def test_scores_of_joint_histograms_are_those_of_the_full_maps(case):
    maps, truth, thresholds, exclusive, weights, random = case
    parts = [maps] if exclusive else [maps[:, :, k : k + 1] for k in range(maps.shape[2])]
    histograms = [
        join([distinct_voxels(m, t) for m, t in zip(part, truth[:, k], strict=True)]) for k, part in enumerate(parts)
    ]
    levels = np.concatenate([histogram.levels(weights) for histogram in histograms], 1)
    of_labels = random.random((2, len(maps), maps.shape[2]))
    shares = to_thousandths(random.dirichlet(np.ones(5)))
    together = fuse(map_scores(levels, thresholds), of_labels, shares)
    for i in range(len(maps)):
        found = map_scores(levels_of_map(blend_maps(maps[i], weights)), thresholds)
        np.testing.assert_array_equal(fuse(found, of_labels[:, i], shares), together[i])


@settings(max_examples=80, deadline=None)
@given(blends())
def test_scores_of_a_map_are_what_they_say(case):
    maps, _, thresholds, _, weights, _ = case
    blended = blend_maps(maps[0], weights)
    top, highest, area = map_scores(levels_of_map(blended), thresholds)
    np.testing.assert_array_equal(top.astype(np.float32), presence(blended))
    for k, channel in enumerate(blended):
        reached = np.count_nonzero(channel >= (thresholds[k] if thresholds else 128))
        assert highest[k] == channel.max() / 255
        np.testing.assert_allclose(area[k], np.log(1 + reached) / np.log(1 + channel.size), atol=1e-12)
        assert 0 <= area[k] <= 1


def test_one_share_is_that_score():
    of_map, of_labels = np.random.default_rng(0).random((3, 4, 2)), np.random.default_rng(1).random((1, 4, 2))
    for source, scores in enumerate([*of_map, *of_labels]):
        shares = 1000 * np.eye(4, dtype=int)[source]
        np.testing.assert_allclose(fuse(of_map, of_labels, shares), scores, atol=1e-15)
