"""Scores of held-out predictions: pure functions of arrays and of the table, without any other room."""

from heldout.metrics.jackknife import Difference, Interval, compare, interval, intervals
from heldout.metrics.lesion import count_lesions
from heldout.metrics.overlap import count_errors, iou_by_depth, mean_by_depth
from heldout.metrics.registry import METRICS, Metric, get_metric, score, scores_by_class
from heldout.metrics.surface import surface_distances
from heldout.metrics.tables import check_cases

__all__ = [
    "METRICS",
    "Difference",
    "Interval",
    "Metric",
    "check_cases",
    "compare",
    "count_errors",
    "count_lesions",
    "get_metric",
    "interval",
    "intervals",
    "iou_by_depth",
    "mean_by_depth",
    "score",
    "scores_by_class",
    "surface_distances",
]
