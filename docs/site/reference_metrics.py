"""The reference of the metrics, from the server's Prometheus registry."""

from markdown_table import code, plain, table
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from inkhorn.server.metrics import Metrics
from inkhorn.server.model_registry import ModelRegistry

_INTRODUCTION = """# Metrics

`GET /metrics` of `inkhorn serve` returns these in Prometheus' text format. The names are vLLM's with the prefix
`inkhorn:`, so that vLLM's dashboards work after replacing the prefix. A counter's samples end in `_total`, a
histogram's in `_bucket`, `_sum` and `_count`. The metrics of the process and of Python (`process_cpu_seconds_total`,
`python_info`) are there, too, on the systems that have them.
"""
_KINDS: dict[type, str] = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


def metrics() -> list[MetricWrapperBase]:
    """Our own metrics, in the order of their declaration."""
    collectors = Metrics(ModelRegistry()).registry._collector_to_names
    return [collector for collector in collectors if isinstance(collector, MetricWrapperBase)]


def page() -> str:
    """The page in Markdown."""
    rows = []
    for metric in metrics():
        [family] = metric.describe()
        buckets = ", ".join(f"{bound:g}" for bound in metric._kwargs.get("buckets") or ())
        help_text = plain(family.documentation) + (f" Buckets: {buckets}." if buckets else "")
        labels = ", ".join(map(code, metric._labelnames))
        rows.append([code(family.name), _KINDS[type(metric)], labels, help_text])
    return f"{_INTRODUCTION}\n{table(['name', 'type', 'labels', 'meaning'], rows)}\n"
