"""What a server counts for Prometheus: no name of a file, a patient or a reader."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        kept = {"registry": self._registry}
        self._requests = Counter(
            "sdmad_requests",
            "Requests, by route, method and status.",
            ("route", "method", "status"),
            **kept,
        )
        self._answers = Histogram(
            "sdmad_request_seconds", "Seconds to an answer.", ("route",), buckets=SECONDS, **kept
        )
        self._images = Histogram(
            "sdmad_batch_images", "Images of a batch of the tower.", buckets=BATCHES, **kept
        )
        self._batches = Histogram(
            "sdmad_batch_seconds", "Seconds of a batch of the tower.", buckets=SECONDS, **kept
        )

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._images.observe(images)
        self._batches.observe(seconds)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request by the template of its route."""
        self._requests.labels(route, method, str(status)).inc()
        self._answers.labels(route).observe(seconds)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Tell a value that is looked up whenever the counts are asked for."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        told: bytes = generate_latest(self._registry)
        return told
