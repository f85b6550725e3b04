"""AdrenalMNIST3D in 2.5D: a pretrained EfficientNet-Lite0 over stacks of 3 slices, attention."""

from exps.exp050 import Exp050


class Exp050Lite0(Exp050):
    arch = "slices"
    encoder = "tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    image_size = (64, 64, 28)
    slice_step = 2
    pooling = "attention"
    dropout = 0.2
    batch_size = 16
    lr = 5e-4
    epochs = 12
    tta = "xyz"
    budgets = {
        "quick": {"epochs": 2, "encoder": "tf_efficientnet_lite0", "width": 1.0},
        "production": {"epochs": 40},
        "baseline": {"epochs": 12},
    }
