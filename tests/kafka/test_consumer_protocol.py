"""The promises under the consumer protocol (KIP-848), where the broker assigns and decides what a session is."""

from pathlib import Path

from stream_worker.kafka.edge import identity
from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import Cluster
from tests.kafka.conftest import SettingsFor
from tests.kafka.test_ledger_and_state import conversation_goes_on_elsewhere
from tests.kafka.test_processes import zombie_commits_nothing

_CONSUMER = {"group_protocol": "consumer", "commit_interval_ms": 20}


def test_a_conversation_goes_on_elsewhere(settings_for: SettingsFor) -> None:
    conversation_goes_on_elsewhere(settings_for(kafka=_CONSUMER))


def test_a_zombie_commits_nothing(settings_for: SettingsFor, tmp_path: Path) -> None:
    zombie_commits_nothing(settings_for(partitions=1, kafka=_CONSUMER), tmp_path)


def test_a_second_worker_shares_and_a_crash_loses_nothing(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=4, kafka=_CONSUMER)
    with Cluster(settings) as cluster:
        cluster.start("a")
        cluster.run_until_term(1, 0, 1, 2, 3)
        cluster.start("b")
        cluster.run_until(lambda: _shares(cluster) == [2, 2], "both have two partitions", 40.0)
        for number in range(20):
            cluster.events.say(f"c-{number % 6}", f"text {number}")
        cluster.crash("a")
        cluster.run_until_settled(40.0)
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.no_event_is_answered_twice(cluster.outputs.replies)
        checker.replies_are_in_order(cluster.events.sent, cluster.outputs.replies)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)


def _shares(cluster: Cluster) -> list[int]:
    return sorted(running.phases.count("serving") for running in cluster.workers.values())


def test_there_are_no_static_members() -> None:
    classic = Settings(instance="w-0")
    consumer = Settings.model_validate({"instance": "w-0", "kafka": {"group_protocol": "consumer"}})
    assert identity(classic, "cpu", "x").member == "w-0-cpu"
    assert identity(consumer, "cpu", "x").member is None
    assert identity(consumer, "cpu", "x").transactional_id == identity(classic, "cpu", "x").transactional_id
