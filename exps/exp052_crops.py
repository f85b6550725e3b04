"""Phantom aneurysms in crops of 16 voxels, pooled by gated attention (Ilse et al. 2018)."""

from exps.exp052 import Exp052


class Exp052Crops(Exp052):
    crop_size = (16, 16, 16)
    pooling = "attention"
