"""FracAtlas presence on the half-size crop where the detector found most (RSNA 2024 winners' cascade)."""

from exps.exp049 import Exp049


class Exp049Crop(Exp049):
    first_stage = "exp040_coarse"
    first_stage_use = "crop"
