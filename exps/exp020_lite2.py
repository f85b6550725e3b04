"""Brain MRI tumor classification: EfficientNet-Lite2 with ImageNet weights, 260 pixels."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Lite2(Exp020Lite0):
    encoder = "tf_efficientnet_lite2"
    encoder_weights = "tf_efficientnet_lite2.safetensors"
    image_size = (260, 260)
    seeds = (0,)
    budgets = {
        "quick": {"encoder": "tf_efficientnet_lite2"},
        "baseline": {"image_size": (260, 260)},
        "production": {"image_size": (260, 260), "encoder": "tf_efficientnet_lite2"},
    }
