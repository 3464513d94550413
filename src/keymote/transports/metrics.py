"""Counters and gauges in Prometheus' text form, prefix `keymote_`; labels are words from short lists, never an id."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One service's metrics in a registry of its own, so that several services may share a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

    def counter(self, name: str, help_: str, labels: Sequence[str] = ()) -> Counter:
        """Return the counter `keymote_<name>_total`."""
        return Counter(name, help_, labels, namespace="keymote", registry=self._registry)

    def gauge(self, name: str, help_: str, labels: Sequence[str] = ()) -> Gauge:
        """Return the gauge `keymote_<name>`."""
        return Gauge(name, help_, labels, namespace="keymote", registry=self._registry)

    def seconds(self, name: str, help_: str, labels: Sequence[str] = ()) -> Histogram:
        """Return the histogram `keymote_<name>_seconds`."""
        return Histogram(
            name, help_, labels, namespace="keymote", unit="seconds", buckets=_SECONDS, registry=self._registry
        )

    def asked(self, name: str, help_: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        """Add a gauge whose values are asked for at each scrape: `{label value: number}`."""
        self._registry.register(_Asked(f"keymote_{name}", help_, label, values))

    def render(self) -> bytes:
        """Return all of it as `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Asked(Collector):
    def __init__(self, name: str, help_: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._help, self._label, self._values = name, help_, label, values

    def collect(self) -> Sequence[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=[self._label])
        for value, number in self._values().items():
            family.add_metric([value], number)
        return [family]
