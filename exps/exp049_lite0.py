"""FracAtlas presence classifier: EfficientNet-Lite0 with ImageNet weights, 256 pixels."""

from exps.exp049 import Exp049


class Exp049Lite0(Exp049):
    encoder = "tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    image_size = (256, 256)
    normalize = "unit"
    epochs = 7
    steps_per_epoch = 60
    lr = 5e-4
    tta = "hv"
    budgets = {
        "quick": {"epochs": 4},
        "production": {
            "image_size": (384, 384),
            "epochs": 30,
            "steps_per_epoch": 200,
            "encoder": "tf_efficientnet_lite0",
        },
        "baseline": {"image_size": (256, 256), "epochs": 7},
    }
