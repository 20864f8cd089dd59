"""What a dashboard is made of: rows of panels, as data. `grafana.py` makes Grafana's JSON of it.

A query names metrics in full, and `$s` for the selector of the dashboard's variables.
"""

from dataclasses import dataclass
from enum import StrEnum

SELECTOR = 'namespace=~"$namespace",job=~"$job",pod=~"$pod"'


class Form(StrEnum):
    LINES = "lines"
    STACKED = "stacked"
    HEATMAP = "heatmap"


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """As Grafana sends it, its variables still in it."""
        return self.expr.replace("$s", SELECTOR)


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` is Grafana's name of it; `page` the page of the docs, with anchor, that explains the panel."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    form: Form = Form.LINES
    page: str = "reference/metrics.md"
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]


def rate(metric: str, by: str, labels: str = "", legend: str | None = None) -> Query:
    chosen = f"$s,{labels}" if labels else "$s"
    group = f" by ({by})" if by else ""
    text = f"{{{{{by}}}}}" if legend is None else legend
    return Query(f"sum{group} (rate(stream_worker_{metric}{{{chosen}}}[$__rate_interval]))", text)


def quantile(share: float, metric: str, legend: str, by: str = "", labels: str = "") -> Query:
    chosen = f"$s,{labels}" if labels else "$s"
    group = ", ".join(filter(None, ("le", by)))
    bucket = f"rate(stream_worker_{metric}_bucket{{{chosen}}}[$__rate_interval])"
    return Query(f"histogram_quantile({share}, sum by ({group}) ({bucket}))", legend)


def quantiles(metric: str, *shares: float, by: str = "", labels: str = "") -> tuple[Query, ...]:
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple(quantile(share, metric, f"p{share * 100:g}{suffix}", by, labels) for share in shares)


def gauge(metric: str, by: str, how: str = "sum", labels: str = "", legend: str | None = None) -> Query:
    chosen = f"$s,{labels}" if labels else "$s"
    group = f" by ({by})" if by else ""
    text = f"{{{{{by}}}}}" if legend is None else legend
    return Query(f"{how}{group} (stream_worker_{metric}{{{chosen}}})", text)


def top(number: int, query: Query) -> Query:
    return Query(f"topk({number}, {query.expr})", query.legend)
