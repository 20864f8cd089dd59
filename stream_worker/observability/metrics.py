"""Metrics of one worker on a registry of its own, built from the table.

Called from the worker thread mostly, but safe from any. A label's child is
looked up once; after that a count is an addition under a lock.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from math import prod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from stream_worker.observability.metric_table import (
    BUILD_INFO,
    BUILD_INFO_HELP,
    OTHER,
    PREFIX,
    TABLE,
    Kind,
    Label,
    Metric,
    Spec,
)

_Instrument = Counter | Gauge | Histogram
_MOST_ZEROS = 50
"""Series of one counter that are shown before they count anything."""

_NO_TRACE = "0" * 32


class Metrics:
    """`declared` names the values that open labels may have; any other value counts as `other`."""

    def __init__(self, declared: Mapping[Label, Iterable[str]], *, reply_slo_seconds: float = 10.0) -> None:
        # One more series for each counter and histogram, which no dashboard of ours reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._allowed = {label: frozenset(values) for label, values in declared.items()}
        self._allowed |= {label: label.closed for label in Label if label.closed is not None}
        self._instruments = {name: self._build(name, spec, reply_slo_seconds) for name, spec in TABLE.items()}
        self._children: dict[tuple[str, ...], _Instrument] = {}
        self._show_zeros()
        self._build_info = Info(BUILD_INFO, BUILD_INFO_HELP, namespace=PREFIX, registry=self.registry)

    def build_info(self, *, version: str, settings_hash: str, bot: str, model: str) -> None:
        self._build_info.info({"version": version, "settings_hash": settings_hash, "bot": bot, "model": model})

    def declare(self, label: Label, values: Iterable[str]) -> None:
        """More values that an open label may have, once they are known."""
        self._allowed[label] = self._allowed.get(label, frozenset()) | frozenset(values)

    def count(self, name: Metric, *values: str, amount: float = 1) -> None:
        """Adds to a counter. `values` are the labels' values, in the table's order."""
        child = self._child(name, values)
        assert isinstance(child, Counter)
        child.inc(amount)

    def set(self, name: Metric, value: float, *values: str) -> None:
        child = self._child(name, values)
        assert isinstance(child, Gauge)
        child.set(value)

    def observe(self, name: Metric, value: float, *values: str) -> None:
        """Adds to a histogram."""
        self.observe_all(name, [(value, "")], *values)

    def observe_all(self, name: Metric, observed: Iterable[tuple[float, str]], *values: str) -> None:
        """Adds many to a histogram, each with a trace id as its bucket's exemplar, or with an empty one."""
        child = self._child(name, values)
        assert isinstance(child, Histogram)
        for value, trace_id in observed:
            child.observe(value, {"trace_id": trace_id} if trace_id else None)

    def replace(self, name: Metric, values: Mapping[str, float], *leading: str) -> None:
        """Sets a gauge for each of `values`, by its last label, and drops the series of all others.

        `leading` are the values of the labels before the last one.
        """
        for key in [key for key in self._children if key[0] == name and key[-1] not in values]:
            self._instruments[name].remove(*key[1:])
            del self._children[key]
        for label, value in values.items():
            self.set(name, value, *leading, label)

    def _show_zeros(self) -> None:
        """A counter that nothing happened to yet stands at 0, so that its first change is seen as one."""
        for name, spec in TABLE.items():
            known = [sorted(self._allowed.get(label, ())) for label in spec.labels]
            if spec.kind is Kind.COUNTER and prod(map(len, known)) <= _MOST_ZEROS:
                for values in product(*known):
                    self._child(name, values)

    def _build(self, name: Metric, spec: Spec, reply_slo_seconds: float) -> _Instrument:
        labels = [label.text for label in spec.labels]
        match spec.kind:
            case Kind.COUNTER:
                return Counter(name, spec.help, labels, namespace=PREFIX, registry=self.registry)
            case Kind.GAUGE:
                return Gauge(name, spec.help, labels, namespace=PREFIX, registry=self.registry)
            case Kind.HISTOGRAM:
                slo = {reply_slo_seconds} if name is Metric.EVENT_TO_REPLY else set()
                buckets = sorted({*spec.buckets, *slo})
                return Histogram(name, spec.help, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)

    def _child(self, name: Metric, values: tuple[str, ...]) -> _Instrument:
        key = (name, *values)
        child = self._children.get(key)
        if child is None:
            spec = TABLE[name]
            bounded = [self._bounded(label, value) for label, value in zip(spec.labels, values, strict=True)]
            instrument = self._instruments[name]
            child = instrument.labels(*bounded) if bounded else instrument
            if tuple(bounded) == values:
                # Only what is declared is kept, so the cache is as bounded as the series.
                self._children[key] = child
        return child

    def _bounded(self, label: Label, value: str) -> str:
        if value in self._allowed.get(label, ()):
            return value
        if label.closed is not None:
            raise ValueError(f"{value!r} is no value of the label {label.text}")
        return OTHER


def trace_id(traceparent: str) -> str:
    """The trace id of a W3C `traceparent`, empty where it is not valid."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or parts[1] == _NO_TRACE or not set(parts[1]) <= set("0123456789abcdef"):
        return ""
    return parts[1]
