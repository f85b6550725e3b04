"""Blending is not tuned for what it cannot compute while tuning."""

from __future__ import annotations

import pytest

from heldout.blend.objective import check_metric
from heldout.errors import UserError


@pytest.mark.parametrize("name", ["lesion_f1_pos", "hd95_pos", "volume_ml_error_all", "patient:dice_pos"])
def test_scores_of_whole_masks_and_patients_are_refused_with_another_choice(name):
    with pytest.raises(UserError, match=f"metric {name} cannot be tuned: .* --metric dice_pos"):
        check_metric(name, "segmentation")


def test_scores_of_patients_are_refused_for_classifications_too():
    with pytest.raises(UserError, match="--metric roc_auc"):
        check_metric("patient:roc_auc", "classification")


def test_voxel_counts_can_be_tuned():
    assert check_metric("recall_pos", "segmentation").tunable
