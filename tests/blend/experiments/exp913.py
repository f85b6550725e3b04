"""Lesions whose sizes exclude each other."""

from exps.exp911 import Exp911


class Exp913(Exp911):
    source_options = {"patients": 20, "images_per_patient": 2, "size": 32, "exclusive": True}
    seeds = (0,)
