"""Low-grade glioma, multi-task, no mask where the head is sure that there is no tumour."""

from exps.exp026 import Exp026


class Exp026Skip(Exp026):
    skip_mask_below = 0.1
