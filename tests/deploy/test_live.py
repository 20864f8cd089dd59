"""A real Prometheus scrapes real workers under load: every panel and every rule finds what it asks for.

`SOAK_S` sets how long the load lasts; a short run is enough to see that nothing is missing.
"""

import math
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from tests.deploy.scene import Scene
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings
from tests.watching_queries import filled, selectors
from tools.watching.dashboards import DASHBOARDS
from tools.watching.panels import Panel
from tools.watching.rules import ALERTS, RECORDINGS, Alert, Recording

SOAK_S = float(os.environ.get("SOAK_S", "40"))
_PANELS = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]


@pytest.fixture(scope="module")
def scene(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    settings = unique_settings(broker, partitions=4)
    create(connect(settings), topic_table(settings))
    scene = Scene(settings, tmp_path_factory.mktemp("scene"))
    try:
        scene.start()
        started = time.monotonic()
        eventually(lambda: time.monotonic() - started > SOAK_S, SOAK_S + 10)
        yield scene
    finally:
        scene.stop()


@pytest.mark.parametrize("panel", _PANELS, ids=lambda panel: panel.title)
def test_every_query_of_a_panel_returns_numbers(panel: Panel, scene: Scene) -> None:
    for query in panel.queries:
        series = scene.prometheus.range(filled(query.promql), SOAK_S)
        assert series, query.promql
        assert any(math.isfinite(float(number)) for each in series for _, number in each["values"]), query.promql


@pytest.mark.parametrize("rule", [*RECORDINGS, *ALERTS], ids=lambda rule: rule.name)
def test_every_series_that_a_rule_looks_at_is_there(rule: Alert | Recording, scene: Scene) -> None:
    for selector in selectors(rule.expr):
        matchers = ",".join(f'{each.name}="{each.value}"' for each in selector.matchers.matchers if each.name != "job")
        assert scene.prometheus.instant(f"{selector.name}{{{matchers}}}"), f"{selector.name} {matchers}"


def test_prometheus_evaluates_every_rule_without_an_error_and_no_alert_fires(scene: Scene) -> None:
    groups = scene.prometheus.get("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(ALERTS) + len(RECORDINGS)
    assert {rule["health"] for rule in rules} == {"ok"}
    # A fiftieth of the load expires and another becomes a dead letter, on purpose: those two wait to fire.
    expected = {"StreamWorkerEventsExpiring", "StreamWorkerDeadLettering"}
    assert {rule["name"] for rule in rules if rule.get("alerts")} <= expected


def test_the_exemplars_of_replies_carry_trace_ids(scene: Scene) -> None:
    query = "query_exemplars?query=stream_worker_event_to_reply_seconds_bucket"
    now = time.time()
    found = scene.prometheus.get(f"/api/v1/{query}&start={now - SOAK_S}&end={now}")["data"]
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces
    assert all(len(trace) == 32 for trace in traces)


def test_promtool_finds_nothing_wrong_with_the_metrics(scene: Scene) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.ports[0]}/metrics", timeout=10) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""


def test_what_was_seen_is_written_down(scene: Scene) -> None:
    """For whoever runs a long one: what the workers did, as JSON."""
    ask = scene.prometheus.instant
    settled = float(ask("sum(stream_worker_events_total)")[0]["value"][1])
    seen = {
        "seconds": SOAK_S,
        "events_sent": scene.load.sent,
        "events_settled": settled,
        "series_per_worker": [
            float(each["value"][1]) for each in ask('count by (pod) ({__name__=~"stream_worker_.*"})')
        ],
        "panel_queries": sum(len(panel.queries) for panel in _PANELS),
        "rules": len(ALERTS) + len(RECORDINGS),
    }
    Path(os.environ.get("SOAK_REPORT", os.devnull)).write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2))
    assert settled > 0
