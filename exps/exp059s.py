"""RSNA aneurysms in 2.5D: EfficientNetV2-S over stacks of 3 slices, attention (RSNA 2023 winners)."""

from exps.exp059 import COARSE, Exp059


class Exp059s(Exp059):
    arch = "slices"
    encoder = "tf_efficientnetv2_s"
    slice_step = 3
    pooling = "attention"
    budgets = {
        "quick": {**COARSE, "encoder": "resnet10t", "epochs": 4},
        "baseline": {**COARSE, "batch_size": 16, "accumulate": 1},
        "production": {"slice_step": 1, "epochs": 80, "seeds": (0, 1, 2)},
    }
