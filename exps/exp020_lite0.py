"""Brain MRI tumor classification: EfficientNet-Lite0 with ImageNet weights, 224 pixels."""

from exps.exp020 import Exp020


class Exp020Lite0(Exp020):
    encoder = "tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    image_size = (224, 224)
    normalize = "unit"
    epochs = 15
    seeds = (0, 1, 2)
    budgets = {
        "quick": {"image_size": (128, 128), "epochs": 8, "seeds": (0,)},
        "production": {"epochs": 30, "image_size": (224, 224), "encoder": "tf_efficientnet_lite0"},
        "baseline": {"image_size": (224, 224), "seeds": (0,)},
    }
