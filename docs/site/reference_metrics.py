"""The reference of the metrics, from the server's Prometheus registry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_table import code, plain, table
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from inkhorn.server.metrics import Metrics
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.settings import ServerConfig

_INTRODUCTION = """# Metrics

`GET /metrics` of `inkhorn serve` returns these in Prometheus' text format. The names are vLLM's with the prefix
`inkhorn:`, so that vLLM's dashboards work after replacing the prefix. A counter's samples end in `_total`, a
histogram's in `_bucket`, `_sum` and `_count`. The metrics of the process and of Python (`process_cpu_seconds_total`,
`python_info`) are there, too, on the systems that have them.
"""


@dataclass(frozen=True)
class MetricRow:
    """One metric: its name as in `# HELP`, type, labels, help and the bounds of a histogram."""

    name: str
    kind: str
    labels: Sequence[str]
    help: str
    buckets: Sequence[float] = ()


def metrics() -> Iterator[MetricRow]:
    """Our own metrics, in the order of their declaration, of a server with every option."""
    registry = Metrics(ModelRegistry(config=ServerConfig(models_memory=1024))).registry
    for collector in registry._collector_to_names:
        if isinstance(collector, ProcessCollector | PlatformCollector):
            continue
        for family in collector.collect():
            labels, buckets = getattr(family, "_labelnames", ()), ()
            if isinstance(collector, MetricWrapperBase):  # others make the family at each scrape
                labels, buckets = collector._labelnames, collector._kwargs.get("buckets", ())
            yield MetricRow(family.name, family.type, labels, family.documentation, buckets)


def page() -> str:
    """The page in Markdown."""
    rows = []
    for metric in metrics():
        buckets = ", ".join(f"{bound:g}" for bound in metric.buckets)
        help_text = plain(metric.help) + (f" Buckets: {buckets}." if buckets else "")
        rows.append([code(metric.name), metric.kind, ", ".join(map(code, metric.labels)), help_text])
    return f"{_INTRODUCTION}\n{table(['name', 'type', 'labels', 'meaning'], rows)}\n"
