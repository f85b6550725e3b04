"""RSNA aneurysms in crops of 96 mm, pooled by gated attention (Ilse et al. 2018)."""

from exps.exp059 import Exp059


class Exp059Crops(Exp059):
    crop_size = (96, 96, 96)
    pooling = "attention"
