"""Prometheus metrics, named as vLLM's with the prefix `inkhorn:`. vLLM's dashboards work with it replaced."""

import time
from collections.abc import Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from inkhorn.inference.outputs import RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.model_collector import ModelCollector
from inkhorn.server.model_registry import ModelRegistry

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
TOKEN_LATENCY_BUCKETS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
TOKEN_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
CHOICE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 128)
METHODS = ("GET", "POST", "HEAD", "OPTIONS")


class Metrics:
    """The metrics of one application."""

    def __init__(self, models: ModelRegistry) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"inkhorn:{name}", documentation, ["model_name", *labels], registry=self.registry)

        def histogram(name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"inkhorn:{name}", documentation, ["model_name"], registry=self.registry, buckets=buckets)

        self.prompt_tokens = counter("prompt_tokens", "Number of prompt tokens.")
        self.generation_tokens = counter("generation_tokens", "Number of generated tokens.")
        self.request_success = counter("request_success", "Number of finished sequences.", "finished_reason")
        self.time_to_first_token = histogram(
            "time_to_first_token_seconds", "Time from the request to the first token.", LATENCY_BUCKETS
        )
        self.inter_token_latency = histogram(
            "inter_token_latency_seconds", "Mean time between the tokens of a sequence.", TOKEN_LATENCY_BUCKETS
        )
        self.e2e_latency = histogram(
            "e2e_request_latency_seconds", "Time from the request to the end of a sequence.", LATENCY_BUCKETS
        )
        self.request_prompt_tokens = histogram("request_prompt_tokens", "Number of tokens of a prompt.", TOKEN_BUCKETS)
        self.request_generation_tokens = histogram(
            "request_generation_tokens", "Number of generated tokens of a sequence.", TOKEN_BUCKETS
        )
        self.request_params_n = histogram("request_params_n", "The parameter n of a request.", CHOICE_BUCKETS)
        self.request_params_max_tokens = histogram(
            "request_params_max_tokens", "The parameter max_tokens of a request.", TOKEN_BUCKETS
        )
        self.http_requests = Counter(
            "http_requests",
            "Number of HTTP requests by handler, method and status.",
            ["handler", "method", "status"],
            registry=self.registry,
        )
        self.http_duration = Histogram(
            "http_request_duration_seconds",
            "Duration of HTTP requests by handler.",
            ["handler"],
            registry=self.registry,
            buckets=LATENCY_BUCKETS,
        )
        self.registry.register(ModelCollector(models))

    def observe_request(self, model: str, prompt_sizes: Iterable[int], n: int, max_tokens: int) -> None:
        for size in prompt_sizes:
            self.prompt_tokens.labels(model).inc(size)
            self.request_prompt_tokens.labels(model).observe(size)
        self.request_params_n.labels(model).observe(n)
        self.request_params_max_tokens.labels(model).observe(max_tokens)

    def observe_http(self, handler: str, method: str, status: int, seconds: float) -> None:
        self.http_requests.labels(handler, method if method in METHODS else "other", str(status)).inc()
        self.http_duration.labels(handler).observe(seconds)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class SequenceMeter:
    """Records the metrics of one generated sequence."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._generation_tokens = metrics.generation_tokens.labels(model)
        self.tokens = 0
        self.finish_reason: str | None = None

    def on_output(self, handle: RequestHandle, output: RequestOutput) -> None:
        if not self.tokens:
            self._metrics.time_to_first_token.labels(self._model).observe(handle.first_token_time - handle.arrival_time)
        self.tokens += len(output.token_ids)
        self._generation_tokens.inc(len(output.token_ids))
        self.finish_reason = output.finish_reason

    def on_finish(self, handle: RequestHandle) -> None:
        """Record the end of the sequence; without a finish reason it was aborted."""
        metrics, model = self._metrics, self._model
        metrics.request_success.labels(model, self.finish_reason or "abort").inc()
        if self.finish_reason is None:
            return
        metrics.e2e_latency.labels(model).observe(time.perf_counter() - handle.arrival_time)
        metrics.request_generation_tokens.labels(model).observe(self.tokens)
        if self.tokens > 1:
            decode_seconds = handle.last_token_time - handle.first_token_time
            metrics.inter_token_latency.labels(model).observe(decode_seconds / (self.tokens - 1))
