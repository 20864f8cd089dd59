"""Dashboards and rules show what workers export, and all of it."""

import json
import re
from pathlib import Path

import pytest

from stream_worker.observability.metric_table import BUILD_INFO, PREFIX, TABLE
from tests.watching_queries import base_name, filled, selectors
from tools.deploy import files
from tools.watching.dashboards import DASHBOARDS, NOT_SHOWN
from tools.watching.panels import Panel
from tools.watching.rules import ALERTS, RECORDINGS

DOCS = Path(__file__).parents[3] / "docs"
PANELS = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]
EXPORTED = {str(name) for name in TABLE} | {f"{BUILD_INFO}_info"}


def _names(promql: str) -> set[str]:
    return {str(selector.name) for selector in selectors(promql) if selector.name is not None}


def _shown() -> set[str]:
    return {name for panel in PANELS for query in panel.queries for name in _names(filled(query.promql))}


def _ruled() -> set[str]:
    expressions = [*(alert.expr for alert in ALERTS), *(recording.expr for recording in RECORDINGS)]
    return {name for expr in expressions for name in _names(expr)}


def test_every_metric_in_a_panel_or_rule_is_exported() -> None:
    recorded = {rule.name for rule in RECORDINGS}
    named = {name for name in _shown() | _ruled() if name not in recorded and name != "up"}
    assert all(name.startswith(f"{PREFIX}_") for name in named)
    assert {base_name(name) for name in named} - EXPORTED == set()


def test_every_metric_is_shown_or_says_why_not() -> None:
    used = {base_name(name) for name in _shown() | _ruled()}
    missing = {str(name) for name in TABLE} - used - {str(name) for name in NOT_SHOWN}
    assert missing == set(), "show them in a panel, or say why not in NOT_SHOWN"
    assert {str(name) for name in NOT_SHOWN} & used == set()


def test_labels_in_queries_are_labels_of_the_metric() -> None:
    common = {"namespace", "job", "pod", "le"}
    for panel in PANELS:
        for query in panel.queries:
            for selector in selectors(filled(query.promql)):
                name = base_name(str(selector.name))
                known = {label.text for metric, spec in TABLE.items() if metric == name for label in spec.labels}
                for matcher in selector.matchers.matchers:
                    assert matcher.name in known | common, f"{panel.title}: {matcher.name}"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_panel_says_what_it_shows_in_which_unit_and_where_to_read_on(panel: Panel) -> None:
    assert panel.description.endswith(".")
    assert panel.unit
    assert panel.queries
    assert (DOCS / panel.page).is_file(), panel.page


def test_dashboards_name_no_data_source_and_no_time_zone_of_their_own() -> None:
    for name, text in files().items():
        if not (name.startswith("grafana/") and name.endswith(".json")):
            continue
        tree = json.loads(text)
        assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", tree["uid"]}
        assert tree["timezone"] == "browser"
        assert tree["tags"] == ["stream-worker-mixin"]
        assert len({panel["id"] for panel in tree["panels"]}) == len(tree["panels"])
        assert [each["name"] for each in tree["templating"]["list"]] == [
            "datasource",
            "namespace",
            "job",
            "pod",
            "model",
        ]
