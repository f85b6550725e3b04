"""Low-grade glioma, multi-task, no mask where the classification head finds no tumor."""

from exps.exp026 import Exp026


class Exp026Skip(Exp026):
    skip_mask_below = 0.1
