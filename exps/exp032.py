"""Hippocampus with intensities between their 1st and 99th percentiles instead of z-scores."""

from exps.exp030 import Exp030


class Exp032(Exp030):
    normalize = "percentile"
