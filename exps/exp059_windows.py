"""RSNA aneurysms, for CT: brain, vessel and bone windows as channels (cf. Salman et al. 2023)."""

from exps.exp059 import Exp059


class Exp059Windows(Exp059):
    # Hounsfield units, which MR does not have: for a dataset, or a part of one, that is CT alone.
    # Brain and bone as radiologists set them; the middle one holds arteries filled with contrast.
    normalize = "window"
    channels = 3
    windows = ((40.0, 80.0), (300.0, 600.0), (600.0, 2800.0))
