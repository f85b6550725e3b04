"""FracAtlas fracture segmentation: U-Net on a pretrained EfficientNet-Lite0, Dice of positives."""

from exps.exp040 import Exp040


class Exp040Lite0(Exp040):
    encoder = "tu-tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    decoder_channels = (128, 64, 48, 32, 16)
    image_size = (256, 256)
    normalize = "unit"
    positive_fraction = 0.7
    batch_dice = False
    dice_positives = True
    dice_weight = 7 / 3  # 0.3 cross-entropy and 0.7 Dice
    epochs = 8
    steps_per_epoch = 60
    tta = "hv"
    budgets = {
        "quick": {"epochs": 4},
        "production": {
            "image_size": (384, 384),
            "epochs": 40,
            "steps_per_epoch": 200,
            "encoder": "tu-tf_efficientnet_lite0",
        },
        "hour": None,
        "baseline": {"image_size": (256, 256), "epochs": 8},
    }
