"""A worker that is asked to end while events come in: it finishes what runs, loses nothing, and the group goes on."""

from pathlib import Path

import pytest

from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.kafka.processes import WorkerProcess
from tests.kafka.sabotage import Bug

_PARTITIONS = 4
_CONVERSATIONS = 12
_LONG_SESSION = {"session_timeout_ms": 120_000, "max_poll_interval_ms": 120_000}
_DRAIN_S = 30.0


def ends_under_load(settings: Settings, folder: Path, bug: Bug | None = None, guard_s: float = 60.0) -> None:
    """Its static session is longer than `guard_s`: who waits for that does not see the others go on in time."""

    def write(cluster: Cluster, events: int) -> None:
        for number in range(events):
            cluster.events.say(f"c-{number % _CONVERSATIONS}")

    with (
        Cluster(settings) as cluster,
        WorkerProcess(settings, folder / "ending", "w-0", seconds_per_token=0.05, bug=bug) as ending,
    ):
        cluster.run_until_term(1, *range(_PARTITIONS))
        write(cluster, 3 * _CONVERSATIONS)
        cluster.run_until(lambda: cluster.outputs.replies, "the first are answered")
        ending.terminate()
        write(cluster, 2 * _CONVERSATIONS)
        cluster.run_until(lambda: not ending.is_alive, "it ends", 2 * _DRAIN_S)
        assert ending.exit_code() == 0, ending.log
        cluster.start("b")
        taken = "the group does not wait for the session's end"
        cluster.run_until(
            lambda: all(cluster.outputs.ledgers[each].term >= 2 for each in range(_PARTITIONS)), taken, guard_s
        )
        cluster.run_until_settled()
        outputs = cluster.outputs
        checker.each_event_has_one_outcome(cluster.events.sent, outputs.metrics)
        checker.no_event_is_answered_twice(outputs.replies)
        checker.replies_are_in_order(cluster.events.sent, outputs.replies)
        checker.state_is_what_was_published(outputs.replies, outputs.changelog)
        checker.ledgers_never_go_back(outputs.changelog)
        assert {reply["term"] for reply in outputs.replies} == {1, 2}, "not both had work"
        assert {reply["attempt"] for reply in outputs.replies} == {1}, "a running turn was not finished"
        assert all(outputs.ledgers[partition].starts == 0 for partition in range(_PARTITIONS)), "one was not released"


def _settings(settings_for: SettingsFor) -> Settings:
    return settings_for(partitions=_PARTITIONS, kafka=QUICK | _LONG_SESSION, drain_timeout_s=_DRAIN_S)


def test_sigterm_under_load_loses_nothing_and_answers_nothing_twice(settings_for: SettingsFor, tmp_path: Path) -> None:
    ends_under_load(_settings(settings_for), tmp_path)


def test_a_member_that_only_closes_holds_the_group_up(settings_for: SettingsFor, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="does not wait for the session's end"):
        ends_under_load(_settings(settings_for), tmp_path, Bug.LEFT_BY_CLOSING, guard_s=8.0)
