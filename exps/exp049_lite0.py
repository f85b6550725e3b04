"""FracAtlas presence classifier: EfficientNet-Lite0 with ImageNet weights, 256 pixels."""

from exps.exp049 import Exp049


class Exp049Lite0(Exp049):
    encoder = "tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    image_size = (256, 256)
    normalise = "unit"
    epochs = 7
    steps_per_epoch = 60
    lr = 5e-4
    tta = "hv"
    budgets = {
        "quick": {"image_size": (192, 192), "epochs": 4, "steps_per_epoch": 40, "folds": (0, 1)},
        "production": {"image_size": (384, 384), "epochs": 30, "steps_per_epoch": 200, "seeds": (0, 1, 2)},
    }
