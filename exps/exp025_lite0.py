"""Low-grade glioma slices: U-Net on a pretrained EfficientNet-Lite0, Dice of slices with tumor."""

from exps.exp025 import Exp025


class Exp025Lite0(Exp025):
    encoder = "tu-tf_efficientnet_lite0"
    encoder_weights = "tf_efficientnet_lite0.safetensors"
    decoder_channels = (128, 64, 48, 32, 16)
    normalize = "unit"
    batch_dice = False
    dice_positives = True
    dice_weight = 7 / 3  # 0.3 cross-entropy and 0.7 Dice
    epochs = 12
    steps_per_epoch = 40
    tta = "hv"
    budgets = {
        "quick": {"epochs": 4, "image_size": (192, 192)},
        "production": {"epochs": 60, "encoder": "tu-tf_efficientnet_lite0"},
        "baseline": {"epochs": 12},
    }
