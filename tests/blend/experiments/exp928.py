"""Small lesions as small bright regions; what is said of large ones is a ramp."""

import torch
from exps.exp911 import Exp911
from torch import nn


class Specialist(nn.Module):
    def __init__(self, outputs: int, known: int) -> None:
        super().__init__()
        self.bias, self.known, self.outputs = nn.Parameter(torch.zeros(1)), known, outputs

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        bright = torch.sigmoid(40 * (image - 0.58))
        area = nn.functional.avg_pool2d(bright, 7, 1, 3)
        sure = 8 * bright - 6 + (12 if self.known else -12) * bright * (area - 0.4) + self.bias
        ramp = torch.linspace(-3, 3, image.shape[-1], device=image.device).expand_as(sure)
        channels = [sure if k == self.known else ramp for k in range(2)]
        if self.outputs == 3:
            channels = [torch.full_like(sure, 1.5), *channels]
        return {"mask": torch.cat(channels, 1)}


class Exp928(Exp911):
    dataset = "parts"
    source_options = {"patients": 40, "images_per_patient": 2, "size": 32}
    seeds = (0,)
    epochs = 1
    metric = "dice_pos"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Specialist(self.mask_channels(classes, exclusive), 0)
