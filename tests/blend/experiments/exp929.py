"""Large lesions as large bright regions; what is said of small ones is a ramp."""

from exps.exp928 import Exp928, Specialist
from torch import nn


class Exp929(Exp928):
    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Specialist(self.mask_channels(classes, exclusive), 1)
