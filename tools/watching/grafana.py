"""Grafana's JSON, made of the dashboards with Grafana's own library."""

import json
from itertools import count
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.watching.dashboards import DASHBOARDS
from tools.watching.panels import Dashboard, Form, Panel

TAG = "stream-worker-mixin"
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT, _WIDTH = 8, 8
_ANY = ".*"


def dashboards(docs: str) -> dict[str, str]:
    """The JSON of every dashboard by its file's name; `docs` is where the pages of the documentation are."""
    return {f"{each.uid}.json": _json(_dashboard(each, docs)) for each in DASHBOARDS}


def _json(built: models.Dashboard) -> str:
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(built)), indent=1, sort_keys=True) + "\n"


def _dashboard(described: Dashboard, docs: str) -> models.Dashboard:
    built = (
        dashboard.Dashboard(described.title)
        .uid(described.uid)
        .description(described.description)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in ("namespace", "job", "pod"):
        built.with_variable(_variable(name, "stream_worker_build_info"))
    built.with_variable(_variable("model", "stream_worker_replies_total"))
    built.annotation(_annotation("New versions", "changes(stream_worker_build_info{%s}[2m]) > 0", "purple"))
    built.annotation(_annotation("Rebalances", "changes(stream_worker_assigned_partitions{%s}[2m]) > 0", "orange"))
    built.link(dashboard.DashboardLink("Stream worker").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]))
    numbers = count(1)
    for row in described.rows:
        built.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            built.with_panel(_panel(panel, docs).id(next(numbers)))
    return built.build()


def _variable(name: str, metric: str) -> dashboard.QueryVariable:
    # `.*` as the value of All matches series without the label, too: outside Kubernetes there is no namespace.
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(_SOURCE)
        .query({"query": f"label_values({metric}, {name})", "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(_ANY)
        .current(models.VariableOption(text="All", value="$__all"))
    )


def _annotation(name: str, expr: str, colour: str) -> dashboard.AnnotationQuery:
    selector = 'namespace=~"$namespace",job=~"$job",pod=~"$pod"'
    query = dashboard.AnnotationQuery().name(name).datasource(_SOURCE).enable(True).icon_color(colour)
    return query.expr(expr % selector)


def _panel(panel: Panel, docs: str) -> Any:
    built: Any = heatmap.Panel() if panel.form is Form.HEATMAP else timeseries.Panel()
    built.title(panel.title).description(panel.description).unit(panel.unit)
    built.datasource(_SOURCE).height(_HEIGHT).span(_WIDTH)
    built.links([dashboard.DashboardLink("What it means").url(f"{docs}/{panel.page}").target_blank(True)])
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.promql).legend_format(query.legend or "{{pod}}")
        if panel.form is Form.HEATMAP:
            target.format(PromQueryFormat.HEATMAP)
        built.with_target(target.ref_id(chr(ord("A") + number)))
    if panel.form is Form.HEATMAP:
        return built
    built.min(0).line_width(1).fill_opacity(10).show_points(common_models.VisibilityMode.NEVER)
    built.legend(common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST).placement(_BOTTOM))
    if panel.most is not None:
        built.max(panel.most)
    if panel.form is Form.STACKED:
        built.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL)).fill_opacity(30)
    return built


_BOTTOM = common_models.LegendPlacement.BOTTOM
