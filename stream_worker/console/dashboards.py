"""Grafana's dashboards without Grafana: their panels from their JSON, their data over Prometheus' API.

The files are the ones that are provisioned, so what is seen here is what
Grafana asks. Variables become "all" of what they stand for.
"""

import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_TIMEOUT_S = 10.0
_MOST_SERIES = 40
POINTS = 240


class PrometheusAway(Exception):
    """Prometheus does not answer, or refuses a query; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str
    is_instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    id: int
    kind: str
    title: str
    description: str
    unit: str
    width: int
    """Of 24 columns."""
    is_stacked: bool
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    rows: tuple[Row, ...]

    def panel(self, panel_id: int) -> Panel | None:
        return next((panel for row in self.rows for panel in row.panels if panel.id == panel_id), None)


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at: seconds since the epoch, and between two points."""

    start: float
    end: float

    @property
    def step(self) -> int:
        return max(5, int((self.end - self.start) / POINTS))


def read_dashboards(folder: Path) -> list[Dashboard]:
    """Every dashboard in a folder, by title. Raises OSError, or ValueError for a file that is none."""
    return sorted(
        (_dashboard(orjson.loads(file.read_bytes()), file.stem) for file in folder.glob("*.json")), key=_title
    )


def _title(dashboard: Dashboard) -> str:
    return dashboard.title


def _dashboard(tree: Mapping[str, Any], name: str) -> Dashboard:
    rows: list[Row] = []
    title, panels = "", list[Panel]()
    for panel in tree.get("panels", ()):
        if panel.get("type") == "row":
            if panels:
                rows.append(Row(title, tuple(panels)))
            title, panels = panel.get("title", ""), [_panel(each) for each in panel.get("panels", ())]
        else:
            panels.append(_panel(panel))
    rows.append(Row(title, tuple(panels)))
    return Dashboard(tree.get("uid") or name, tree.get("title") or name, tuple(row for row in rows if row.panels))


def _panel(tree: Mapping[str, Any]) -> Panel:
    defaults = tree.get("fieldConfig", {}).get("defaults", {})
    stacking = defaults.get("custom", {}).get("stacking", {}).get("mode", "none")
    return Panel(
        id=int(tree["id"]),
        kind=str(tree.get("type", "timeseries")),
        title=str(tree.get("title", "")),
        description=str(tree.get("description", "")),
        unit=str(defaults.get("unit", "short")),
        width=int(tree.get("gridPos", {}).get("w", 12)),
        is_stacked=stacking not in ("none", ""),
        queries=tuple(
            Query(target["expr"], target.get("legendFormat", ""), bool(target.get("instant")))
            for target in tree.get("targets", ())
            if target.get("expr")
        ),
    )


def filled(expr: str, span: Span) -> str:
    """A panel's query with its variables replaced: intervals by what fits the span, the others by all."""
    seconds = int(span.end - span.start)
    # As Grafana does: four scrapes at least, so that a rate has two points.
    known = {
        "__rate_interval": f"{max(60, 4 * span.step)}s",
        "__interval": f"{span.step}s",
        "__range": f"{seconds}s",
        "__range_s": str(seconds),
    }
    return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], ".*"), expr)


def draw(prometheus: str, panel: Panel, span: Span) -> dict[str, Any]:
    """The panel's points for uPlot: `x`, seconds, and one list a series. Raises PrometheusAway."""
    series: list[tuple[str, dict[int, float]]] = []
    for query in panel.queries:
        for labels, points in _ask(prometheus, filled(query.expr, span), span):
            series.append((_legend(query.legend, labels), points))
    series = series[:_MOST_SERIES]
    x = sorted({at for _, points in series for at in points})
    return {
        "x": x,
        "series": [{"label": label, "values": [points.get(at) for at in x]} for label, points in series],
        "unit": panel.unit,
        "stacked": panel.is_stacked,
    }


def _ask(prometheus: str, expr: str, span: Span) -> Iterator[tuple[Mapping[str, str], dict[int, float]]]:
    step = span.step
    # Points of one grid, so that the series of a panel share their x.
    start = int(span.start) // step * step
    parameters = urllib.parse.urlencode({"query": expr, "start": start, "end": int(span.end), "step": step})
    for result in _get(f"{prometheus.rstrip('/')}/api/v1/query_range?{parameters}")["result"]:
        points = {int(at): float(value) for at, value in result["values"]}
        yield result["metric"], {at: value for at, value in points.items() if math.isfinite(value)}


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # given by who started us
            return orjson.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        raise PrometheusAway(f"Prometheus refuses the query ({error.code})") from error
    except (OSError, ValueError, KeyError) as error:
        raise PrometheusAway(f"Prometheus does not answer ({type(error).__name__})") from error


def _legend(form: str, labels: Mapping[str, str]) -> str:
    if form and form != "__auto":
        return _LEGEND.sub(lambda found: labels.get(found[1], ""), form)
    shown = {name: value for name, value in labels.items() if name not in ("__name__", "job", "namespace")}
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or labels.get("__name__", "value")
