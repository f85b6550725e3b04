"""The cut above which a decision abstains, against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heldout.blend.abstention import choose_cut
from heldout.blend.doubt import case_doubt, reason_of
from heldout.blend.records import Abstention

_CASES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=1, max_size=25)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([*[(0, 0)] * 4, *[(0, 1)] * 7, *[(1, 0)] * 3], 0.5)
@given(_CASES, st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_the_cut_is_the_largest_that_keeps_to_the_risk(cases, risk):
    doubts, losses = (np.array(part, float) for part in zip(*cases, strict=True))
    good = [cut for cut in np.unique(doubts) if losses[doubts <= cut].mean() <= risk + 1e-12]
    assert choose_cut(doubts, losses, risk) == (max(good) if good else None)


def test_doubt_is_entropy_in_the_mask_and_of_presence_where_that_is_empty():
    sure, unsure = np.array([0.99]), np.array([0.5])
    assert case_doubt(False, sure, None, None) < case_doubt(False, unsure, None, None)
    assert case_doubt(False, unsure, None, None) == np.log(2)
    blended = np.zeros((1, 8, 8), np.uint8)
    blended[0, 2:4, 2:4] = 255
    mask = (blended > 127).astype(np.uint8)
    assert case_doubt(True, sure, blended, mask) < 1e-6
    hazy = np.where(mask, 130, blended).astype(np.uint8)
    assert case_doubt(True, sure, hazy, mask) > 0.6
    assert case_doubt(True, unsure, blended, np.zeros_like(mask)) > case_doubt(True, sure, blended, np.zeros_like(mask))


def test_a_decision_without_a_cut_answers_every_case():
    assert reason_of(Abstention(), 5.0) == ""
    cut = Abstention(risk=0.1, cut=0.3, coverage=0.9, selective_risk=0.1, full_risk=0.2)
    assert reason_of(cut, 0.3) == ""
    assert "0.400 nats, above the cut of 0.300" in reason_of(cut, 0.4)
