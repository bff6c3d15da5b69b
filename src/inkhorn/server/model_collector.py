"""Metrics of the models themselves, which are read at the time of a scrape."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inkhorn.server.model_entry import ModelEntry
from inkhorn.server.model_registry import ModelRegistry


class ModelCollector(Collector):
    """The load of each engine, and which models are loaded."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        entries = list(self._models)
        counts = {entry.id: entry.model.engine.request_counts for entry in entries if entry.model is not None}
        slots = {entry.id: entry.model.engine.backend.max_num_seqs for entry in entries if entry.model is not None}

        def running(entry: ModelEntry) -> float:
            return counts.get(entry.id, (0, 0))[0]

        gauges: dict[str, tuple[str, Callable[[ModelEntry], float]]] = {
            "num_requests_running": ("Number of sequences being generated.", running),
            "num_requests_waiting": (
                "Number of sequences waiting to be scheduled.",
                lambda entry: counts.get(entry.id, (0, 0))[1],
            ),
            "kv_cache_usage_perc": (
                "Fraction of the KV cache slots in use (0 to 1).",
                lambda entry: running(entry) / slots.get(entry.id, 1),
            ),
            "model_loaded": ("Whether a model is loaded (0 or 1).", lambda entry: entry.id in counts),
            "model_memory_bytes": ("Memory of a loaded model: weights and caches.", self._models.memory),
        }
        counters: dict[str, tuple[str, Callable[[ModelEntry], float]]] = {
            "model_loads": ("Number of times that a model was loaded.", lambda entry: entry.loads),
            "model_unloads": ("Number of times that a model was unloaded.", lambda entry: entry.unloads),
            "model_load_seconds": ("Time that loading took, in seconds.", lambda entry: entry.load_seconds),
        }
        for kind, families in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
            for name, (documentation, value) in families.items():
                family = kind(f"inkhorn:{name}", documentation, labels=["model_name"])
                for entry in entries:
                    family.add_metric([entry.id], value(entry))
                yield family
        limit = self._models.memory_limit
        if limit is not None:
            yield GaugeMetricFamily("inkhorn:models_memory_limit_bytes", "Memory for all models together.", limit)
