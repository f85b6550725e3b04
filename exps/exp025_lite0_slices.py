"""Low-grade glioma in 2.5D: the slices above and below as further channels of the pretrained network."""

from exps.exp025_lite0_missing import Exp025Lite0Missing


class Exp025Lite0Slices(Exp025Lite0Missing):
    source_options = {"neighbors": 1}
    channels = 9
