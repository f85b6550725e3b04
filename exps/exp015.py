"""ISLES 2022 with the FLAIR, resampled to the grid of the DWI, as a third channel."""

from exps.exp014 import Exp014


class Exp015(Exp014):
    source_options = {"flair": True}
    channels = 3
