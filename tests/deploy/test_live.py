"""A real Prometheus scrapes real workers under load: every panel and every rule finds what it asks for.

`SOAK_S` sets how long the load lasts; a short run is enough to see that nothing is missing. Its first half goes to a
hundred conversations, its second to `SOAK_CONVERSATIONS`, which workers must not notice in their number of series.
"""

import math
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from tests.deploy.scene import Prometheus, Scene
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings
from tests.watching_queries import filled, selectors
from tools.watching.dashboards import DASHBOARDS
from tools.watching.panels import Panel
from tools.watching.rules import ALERTS, RECORDINGS, Alert, Recording

SOAK_S = float(os.environ.get("SOAK_S", "40"))
CONVERSATIONS = int(os.environ.get("SOAK_CONVERSATIONS", "400"))
_GUARD_S = 120.0
"""For what is there as soon as a scrape succeeds, which on a busy machine not every one does in its second."""
_SERIES = 'count by (pod) ({__name__=~"stream_worker_.*"})'
_MORE_SERIES = 10
"""What may come with the first of something rare, such as a reason; of conversations there are many more."""
# The scene is made within the first test's time.
pytestmark = pytest.mark.timeout(2 * SOAK_S + 1_200)
_PANELS = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]


@pytest.fixture(scope="module")
def scene(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Soaked"]:
    settings = unique_settings(broker, partitions=4)
    create(connect(settings), topic_table(settings))
    scene = Scene(settings, tmp_path_factory.mktemp("scene"))
    try:
        scene.start()
        _let_run(SOAK_S / 2)
        few = _series(scene.prometheus)
        # A fiftieth of the events goes to the conversation of the event before.
        all_of_them = int(CONVERSATIONS * 1.05)
        scene.load.widen(max(20.0, 1.1 * all_of_them / (SOAK_S / 2)), all_of_them)
        _let_run(SOAK_S / 2)
        yield Soaked(scene, few, _series(scene.prometheus))
    finally:
        scene.stop()


@dataclass(frozen=True, slots=True)
class Soaked:
    """`few` and `many` are how many series each worker had after either half."""

    scene: Scene
    few: dict[str, int]
    many: dict[str, int]

    @property
    def prometheus(self) -> Prometheus:
        return self.scene.prometheus


def _let_run(seconds: float) -> None:
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > seconds, seconds + _GUARD_S)


def _series(prometheus: Prometheus) -> dict[str, int]:
    """How many each worker has, at a moment at which Prometheus has reached both."""

    def counted() -> dict[str, int]:
        found = {each["metric"]["pod"]: int(each["value"][1]) for each in prometheus.instant(_SERIES)}
        return found if len(found) == 2 else {}

    return eventually(counted, _GUARD_S)


@pytest.mark.parametrize("panel", _PANELS, ids=lambda panel: panel.title)
def test_every_query_of_a_panel_returns_numbers(panel: Panel, scene: Soaked) -> None:
    for query in panel.queries:
        series = scene.prometheus.range(filled(query.promql), SOAK_S)
        assert series, query.promql
        assert any(math.isfinite(float(number)) for each in series for _, number in each["values"]), query.promql


@pytest.mark.parametrize("rule", [*RECORDINGS, *ALERTS], ids=lambda rule: rule.name)
def test_every_series_that_a_rule_looks_at_is_there(rule: Alert | Recording, scene: Soaked) -> None:
    for selector in selectors(rule.expr):
        matchers = ",".join(f'{each.name}="{each.value}"' for each in selector.matchers.matchers if each.name != "job")
        query = f"{selector.name}{{{matchers}}}"
        assert eventually(lambda query=query: scene.prometheus.instant(query), _GUARD_S), query  # type: ignore[misc]


def test_prometheus_evaluates_every_rule_without_an_error_and_no_alert_fires(scene: Soaked) -> None:
    groups = scene.prometheus.get("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(ALERTS) + len(RECORDINGS)
    assert {rule["health"] for rule in rules} == {"ok"}
    # Some wait to fire: a fiftieth of the load expires on purpose and another becomes a dead letter, and a busy machine
    # may be late for a while.
    assert not [each for rule in rules for each in rule.get("alerts", ()) if each["state"] == "firing"]


def test_the_exemplars_of_replies_carry_trace_ids(scene: Soaked) -> None:
    query = "query_exemplars?query=stream_worker_event_to_reply_seconds_bucket"
    now = time.time()
    found = scene.prometheus.get(f"/api/v1/{query}&start={now - SOAK_S}&end={now}")["data"]
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces
    assert all(len(trace) == 32 for trace in traces)


def test_promtool_finds_nothing_wrong_with_the_metrics(scene: Soaked) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.scene.ports[0]}/metrics", timeout=10) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""


def test_more_conversations_are_no_more_series(scene: Soaked) -> None:
    assert scene.scene.load.conversations >= CONVERSATIONS
    assert scene.few.keys() == scene.many.keys() == {"w-0", "w-1"}
    assert all(scene.many[pod] - scene.few[pod] <= _MORE_SERIES for pod in scene.few)


def test_what_was_seen_is_written_down(scene: Soaked) -> None:
    """For whoever runs a long one: what the workers did, as JSON."""
    ask = scene.prometheus.instant
    settled = float(ask("sum(stream_worker_events_total)")[0]["value"][1])
    seen = {
        "seconds": SOAK_S,
        "conversations": [100, scene.scene.load.conversations],
        "events_sent": scene.scene.load.sent,
        "events_settled": settled,
        "series_per_worker": [scene.few, scene.many],
        "panel_queries": sum(len(panel.queries) for panel in _PANELS),
        "rules": len(ALERTS) + len(RECORDINGS),
    }
    Path(os.environ.get("SOAK_REPORT", os.devnull)).write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2))
    assert settled > 0
