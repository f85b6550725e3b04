"""Which lesions the part of an image shows in which exp911 found most."""

from exps.exp914 import Exp914


class Exp917(Exp914):
    first_stage = "exp911"
    first_stage_use = "crop"
    epochs = 1
