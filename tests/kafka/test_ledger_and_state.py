"""What a worker that takes a partition knows of its predecessor: what is settled, the state, and where to go on."""

import uuid

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.record import Outgoing
from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import conversation_in
from tests.kafka.sabotage import Bug, planted
from tests.kafka.test_kafka_edge import HangingTransaction

#: No window of remembered ids: only ledger and offsets keep an event from being answered again.
_NO_WINDOW = {"dedup_window": 0}


def settled_events_stay_settled(settings: Settings) -> None:
    """The first event of a partition is open when its worker dies, and those behind it are settled."""
    endless = {"slow"}
    with Cluster(
        settings, scripted(seconds=lambda order: 1_000.0 if order.conversation in endless else 0.0)
    ) as cluster:
        cluster.start("a")
        cluster.events.say("slow")
        settled = [cluster.events.say(f"quick-{number}") for number in range(10)]
        cluster.run_until(lambda: cluster.outputs.outcomes.keys() >= set(settled), "the quick ones are answered")
        cluster.crash("a")
        endless.clear()
        cluster.start("b")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.no_event_is_answered_twice(cluster.outputs.replies)


def test_what_is_settled_behind_an_open_event_is_not_answered_again(settings_for: SettingsFor) -> None:
    settled_events_stay_settled(settings_for(partitions=1, kafka=QUICK, conversation=_NO_WINDOW))


def test_the_ledger_ignored_makes_duplicates(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=1, kafka=QUICK, conversation=_NO_WINDOW)
    with planted(Bug.LEDGER_IGNORED), pytest.raises(AssertionError, match="settled twice"):
        settled_events_stay_settled(settings)


def restart_replays_nothing(settings: Settings) -> None:
    with Cluster(settings) as cluster:
        cluster.start("a")
        for number in range(6):
            cluster.events.say(f"c-{number}")
        cluster.run_until_settled()
        cluster.stop("a")
        again = cluster.start("b")
        cluster.run_until_term(2, 0, 1)
        cluster.run_for(0.5)
        assert again.journal.outcomes == [], "settled events were read again"
        cluster.events.say("c-0")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)


def test_a_restart_replays_nothing(settings_for: SettingsFor) -> None:
    restart_replays_nothing(settings_for(kafka=QUICK, conversation=_NO_WINDOW))


def test_starting_over_replays_everything(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK, conversation=_NO_WINDOW)
    with planted(Bug.STARTED_OVER), pytest.raises(AssertionError, match="settled events were read again"):
        restart_replays_nothing(settings)


def _lags(settings: Settings) -> list[int]:
    """End of each input partition less the group's offset, as an autoscaler computes it."""
    admin = AdminClient(admin_settings(settings))
    places = [TopicPartition(settings.topics.events, number) for number in range(settings.topics.partitions)]
    ends = admin.list_offsets({place: OffsetSpec.latest() for place in places})  # type: ignore[no-untyped-call]
    request = ConsumerGroupTopicPartitions(settings.application_id, places)
    (group,) = admin.list_consumer_group_offsets([request]).values()
    committed = {place.partition: place.offset for place in group.result().topic_partitions}
    return [future.result().offset - max(0, committed[place.partition]) for place, future in ends.items()]


def idle_group_has_no_lag(settings: Settings) -> None:
    """Also where control records and aborted events stand at the end of the input."""
    with Cluster(settings) as cluster:
        cluster.start("a")
        cluster.events.say("c-0")
        cluster.events.say_in_transaction("c-0", "c-1", "c-2")
        cluster.events.say_in_transaction("c-0", "c-1", "c-2", commit=False)
        cluster.run_until_settled()
        cluster.run_until(lambda: _lags(settings) == [0], "the lag is 0", deadline_s=4.0)
        cluster.stop("a")
        again = cluster.start("b")
        cluster.run_until_term(2, 0)
        cluster.run_for(0.3)
        assert again.journal.outcomes == [], "settled events were read again"
        assert _lags(settings) == [0]


def test_an_idle_group_has_no_lag_with_control_records_at_the_end(settings_for: SettingsFor) -> None:
    idle_group_has_no_lag(settings_for(partitions=1, kafka=QUICK))


def test_a_lag_stays_when_the_position_is_not_followed(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    with planted(Bug.POSITION_NOT_FOLLOWED), pytest.raises(AssertionError, match="the lag is 0"):
        idle_group_has_no_lag(settings)


def conversation_goes_on_elsewhere(settings: Settings) -> None:
    with Cluster(settings) as cluster:
        cluster.start("a")
        conversations = [conversation_in(number, 2) for number in (0, 1)]
        for conversation in conversations:
            cluster.events.say(conversation, "first")
        cluster.run_until_settled()
        cluster.start("b")
        cluster.run_until(
            lambda: sorted(ledger.term for ledger in cluster.outputs.ledgers.values()) == [1, 2], "one partition moved"
        )
        for conversation in conversations:
            cluster.events.say(conversation, "second")
        cluster.run_until_settled()
        assert {reply["term"] for reply in cluster.outputs.replies[-2:]} == {1, 2}
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.replies_are_in_order(cluster.events.sent, cluster.outputs.replies)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)


def test_a_released_partition_goes_on_elsewhere_with_its_state(settings_for: SettingsFor) -> None:
    conversation_goes_on_elsewhere(settings_for(kafka=QUICK))


def test_state_that_is_not_restored_is_lost(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK)
    with planted(Bug.STATE_NOT_RESTORED), pytest.raises(AssertionError, match="state lost"):
        conversation_goes_on_elsewhere(settings)


def restore_sees_what_follows_an_open_transaction(settings: Settings, gets_to: str = "restoring") -> None:
    """A transaction of a dead process stands open in the changelog, before the predecessor's last records.

    It is ended when who takes over has got to that phase: no further than restoring, unless there is a bug.
    """
    with Cluster(settings) as cluster:
        cluster.start("a")
        cluster.events.say("c")
        cluster.run_until_settled()
        hanging = HangingTransaction(settings)
        try:
            hanging.send(Outgoing(settings.changelog, b"c/other", uuid.uuid4().bytes, partition=0))
            cluster.events.say("c")
            cluster.run_until(lambda: "e-1" in cluster.outputs.outcomes, "the second one is answered")
            cluster.stop("a")
            taker = cluster.start("b")
            cluster.events.say("c")
            cluster.run_until(lambda: taker.phases == [gets_to], f"b is {gets_to}")
        finally:
            hanging.abort()
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)


#: The open transaction must not end by itself, however slow the machine is.
_PATIENT = QUICK | {"transaction_timeout_ms": 300_000}


def test_a_restore_waits_for_the_marker_of_an_open_transaction(settings_for: SettingsFor) -> None:
    restore_sees_what_follows_an_open_transaction(settings_for(partitions=1, kafka=_PATIENT))


def test_a_restore_to_the_last_stable_offset_misses_the_end(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=1, kafka=_PATIENT)
    with planted(Bug.RESTORED_TO_THE_LAST_STABLE_OFFSET), pytest.raises(AssertionError, match="state lost"):
        restore_sees_what_follows_an_open_transaction(settings, gets_to="serving")
