"""Lesions as boxes, with a very small network."""

from exps.exp926 import Exp926


class Exp927(Exp926):
    metric = "fbeta:1:3"
    objects = "boxes"
    heat_sigma = 0.0
    detection_text = "{class} {score:.4f} {x:.1f} {y:.1f} {w:.1f} {h:.1f}"
