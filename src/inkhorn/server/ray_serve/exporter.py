"""Copies the metrics of a replica into Ray's, which collects those of all replicas."""

import re
import threading
from typing import Any

from prometheus_client import CollectorRegistry

SECONDS = 2.0
"""How often the metrics are copied."""

PREFIXES = ("inkhorn:", "http_request")
"""Of the metrics that are copied; Ray has its own of processes."""


class Exporter:
    """Copies metrics in a thread: inkhorn:num_requests_waiting becomes Ray's ray_inkhorn_num_requests_waiting.

    A histogram becomes counters, with a label `le` for its buckets, as in Prometheus' own format. Ray adds labels with
    the deployment and the replica.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._metrics: dict[str, Any] = {}
        self._last: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inkhorn-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Copy the metrics once more, and end."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(SECONDS)
            self.copy()

    def copy(self) -> None:
        for family in self._registry.collect():
            if not family.name.startswith(PREFIXES):
                continue
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                self._set(sample.name, family.documentation, sample.labels, sample.value, family.type == "gauge")

    def _set(self, name: str, documentation: str, labels: dict[str, str], value: float, is_gauge: bool) -> None:
        from ray.serve.metrics import Counter, Gauge

        # Ray appends _total to the name of a counter.
        ours = re.sub(r"[^a-zA-Z0-9_]", "_", name.removesuffix("_total"))
        if name not in self._metrics:
            kind = Gauge if is_gauge else Counter
            self._metrics[name] = kind(ours, documentation, tag_keys=tuple(labels))
        if is_gauge:
            self._metrics[name].set(value, tags=labels)
            return
        key = name, frozenset(labels.items())
        grown = value - self._last.get(key, 0.0)
        if grown > 0:
            self._metrics[name].inc(grown, tags=labels)
            self._last[key] = value
