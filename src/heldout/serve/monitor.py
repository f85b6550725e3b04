"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from heldout.serve.drift import Recent
from heldout.serve.engine import NetworkPool
from heldout.serve.messages import Found

_CASES = (1, 2, 4, 8, 16, 32)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Monitor:
    """Counts of one service."""

    def __init__(self, engine: NetworkPool) -> None:
        self.registry = one = CollectorRegistry()
        self.recent = Recent()
        self.requests = Counter("heldout_requests", "answered requests", ["route", "status"], registry=one)
        self.seconds = Histogram("heldout_request_seconds", "time to answer", ["route"], buckets=_SECONDS, registry=one)
        self.batches = Histogram(
            "heldout_batch_cases", "cases that went through the networks together", buckets=_CASES, registry=one
        )
        self.predicted = Counter("heldout_predicted", "cases predicted as a class", ["decision", "label"], registry=one)
        self.unusual = Counter(
            "heldout_out_of_distribution", "cases unlike the training data", ["decision"], registry=one
        )
        self.inputs = Counter("heldout_inputs", "cases compared with the training data", ["decision"], registry=one)
        self._recent_share = Gauge(
            "heldout_recent_out_of_distribution",
            "share of the last inputs that are unlike the training data",
            ["decision"],
            registry=one,
        )
        self._gauge("heldout_queue_depth", "requests waiting or running", lambda: engine.depth)
        self._gauge("heldout_ready", "1 where networks are loaded", lambda: engine.ready > 0)
        self._gauge("heldout_ready_processes", "network processes that answer", lambda: engine.ready)
        self._gauge("heldout_restarts", "network processes that died", lambda: engine.restarts)
        self._gauge("heldout_device_memory_bytes", "accelerator memory in use", lambda: engine.device_memory)

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(name, what, registry=self.registry).set_function(value)

    def seen(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def answered(self, decision: str, seal: str, found: list[Found], labels: Sequence[str | None]) -> None:
        """Count what was predicted."""
        for one, label in zip(found, labels, strict=True):
            if one.measures:
                self.recent.add(seal, not one.unusual, one.measures)
                self.inputs.labels(decision).inc()
                known, unusual = self.recent.counts(seal)
                self._recent_share.labels(decision).set(unusual / known)
            self.unusual.labels(decision).inc(int(bool(one.unusual)))  # a count of 0 is shown too
            if label is not None:
                self.predicted.labels(decision, label).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' format."""
        return generate_latest(self.registry)
