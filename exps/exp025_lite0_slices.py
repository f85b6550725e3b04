"""Low-grade glioma in 2.5D: pretrained, the slices above and below as further channels."""

from exps.exp025_lite0 import Exp025Lite0


class Exp025Lite0Slices(Exp025Lite0):
    source_options = {"neighbors": 1}
    channels = 9
