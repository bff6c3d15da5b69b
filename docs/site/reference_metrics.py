"""The reference of the metrics, from the server's Prometheus registry."""

from markdown_table import code, plain, table
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from inkhorn.server.metrics import Metrics
from inkhorn.server.model_collector import ModelCollector
from inkhorn.server.model_registry import ModelRegistry

_INTRODUCTION = """# Metrics

`GET /metrics` of `inkhorn serve` returns these in Prometheus' text format. The names are vLLM's with the prefix
`inkhorn:`, so that vLLM's dashboards work after replacing the prefix. A counter's samples end in `_total`, a
histogram's in `_bucket`, `_sum` and `_count`. The metrics of the process and of Python (`process_cpu_seconds_total`,
`python_info`) are there, too, on the systems that have them.
"""


def metrics() -> list[tuple[Metric, tuple[str, ...], tuple[float, ...]]]:
    """Our own metrics with their labels and buckets, in the order of their declaration."""
    found: list[tuple[Metric, tuple[str, ...], tuple[float, ...]]] = []
    for collector in Metrics(ModelRegistry()).registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            [family] = collector.describe()
            found.append((family, tuple(collector._labelnames), tuple(collector._kwargs.get("buckets") or ())))
        elif isinstance(collector, ModelCollector):
            found += [(family, ("model_name",), ()) for family in collector.collect()]
    return found


def page() -> str:
    """The page in Markdown."""
    rows = []
    for family, labels, buckets in metrics():
        bounds = ", ".join(f"{bound:g}" for bound in buckets)
        help_text = plain(family.documentation) + (f" Buckets: {bounds}." if bounds else "")
        rows.append([code(family.name), family.type, ", ".join(map(code, labels)), help_text])
    return f"{_INTRODUCTION}\n{table(['name', 'type', 'labels', 'meaning'], rows)}\n"
