"""RSNA aneurysms in 2.5D: EfficientNetV2-S over stacks of 3 slices, attention (RSNA 2023 winners)."""

from exps.exp059 import Exp059


class Exp059Slices(Exp059):
    arch = "slices"
    encoder = "tf_efficientnetv2_s"
    slice_step = 3
    pooling = "attention"
    budgets = {
        "quick": {"encoder": "resnet10t", "width": 1.0},
        "baseline": {"width": 1.0},
        "production": {"slice_step": 1, "encoder": "tf_efficientnetv2_s"},
    }
