"""Numbers for Prometheus, named as vLLM does after a prefix of our own: its dashboards serve after one replace."""

import time
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inkhorn.inference.outputs import Piece
from inkhorn.inference.stream import Handle
from inkhorn.server.model_registry import Models

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
SHORT = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 128)


class _Engines(Collector):
    """What the engines are at, when somebody asks."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily("inkhorn:num_requests_running", "texts being written", labels=["model_name"])
        waiting = GaugeMetricFamily("inkhorn:num_requests_waiting", "texts waiting for a slot", labels=["model_name"])
        usage = GaugeMetricFamily(
            "inkhorn:kv_cache_usage_perc", "share of the slots in use, 0 to 1", labels=["model_name"]
        )
        for name, model in self._models.items():
            busy, queued = model.engine.load
            running.add_metric([name], busy)
            waiting.add_metric([name], queued)
            usage.add_metric([name], busy / model.engine.backend.slots)
        return [running, waiting, usage]


class Metrics:
    """All numbers of one app.

    Args:
        models: what is served.

    """

    def __init__(self, models: Models) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_Engines(models))

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"inkhorn:{name}", about, ["model_name", *labels], registry=self.registry)

        def histogram(name: str, about: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"inkhorn:{name}", about, ["model_name"], registry=self.registry, buckets=buckets)

        self.prompt_tokens = counter("prompt_tokens", "tokens of prompts")
        self.generation_tokens = counter("generation_tokens", "tokens written")
        self.success = counter("request_success", "texts that were finished", "finished_reason")
        self.aborted = counter("request_aborted", "texts that were given up")
        self.first = histogram("time_to_first_token_seconds", "from the request to a text's first token", SECONDS)
        self.between = histogram("inter_token_latency_seconds", "mean time between a text's tokens", SHORT)
        self.whole = histogram("e2e_request_latency_seconds", "from the request to a text's end", SECONDS)
        self.prompt_size = histogram("request_prompt_tokens", "tokens of a prompt", TOKENS)
        self.text_size = histogram("request_generation_tokens", "tokens of a text", TOKENS)
        self.asked_texts = histogram("request_params_n", "texts asked for with a request", COUNTS)
        self.asked_tokens = histogram("request_params_max_tokens", "tokens asked for with a request", TOKENS)
        http = ["handler", "method", "status"]
        self.http = Counter("http_requests", "requests by where they went", http, registry=self.registry)
        self.http_seconds = Histogram(
            "http_request_duration_seconds",
            "how long a request took",
            ["handler"],
            registry=self.registry,
            buckets=SECONDS,
        )

    def asked(self, model: str, prompts: Iterator[int], n: int, max_tokens: int) -> None:
        """Note what a request asks for."""
        for size in prompts:
            self.prompt_tokens.labels(model).inc(size)
            self.prompt_size.labels(model).observe(size)
        self.asked_texts.labels(model).observe(n)
        self.asked_tokens.labels(model).observe(max_tokens)

    def page(self) -> bytes:
        """The numbers as Prometheus reads them."""
        return generate_latest(self.registry)


class TextMeter:
    """Counts one text.

    Args:
        metrics: where it is told.
        model: who writes.

    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self.tokens = 0
        self.finish_reason: str | None = None

    def came(self, handle: Handle, pieces: Sequence[Piece]) -> None:
        """Note pieces."""
        if not self.tokens:
            self._metrics.first.labels(self._model).observe(handle.first - handle.submitted)
        count = sum(piece.token is not None for piece in pieces)
        self.tokens += count
        self._metrics.generation_tokens.labels(self._model).inc(count)
        self.finish_reason = pieces[-1].finish_reason

    def ended(self, handle: Handle) -> None:
        """Note the end."""
        metrics, model = self._metrics, self._model
        if self.finish_reason is None:
            metrics.aborted.labels(model).inc()
            return
        metrics.success.labels(model, self.finish_reason).inc()
        metrics.whole.labels(model).observe(time.perf_counter() - handle.submitted)
        metrics.text_size.labels(model).observe(self.tokens)
        if self.tokens > 1:
            metrics.between.labels(model).observe((handle.last - handle.first) / (self.tokens - 1))
