"""ISLES 2022, stroke lesions in DWI and ADC: as ATLAS (data: Hernandez Petzsche 2022)."""

from exps.exp013 import Exp013


class Exp014(Exp013):
    dataset = "ISLES-2022"
    source = "isles"
    channels = 2
