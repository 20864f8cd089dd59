"""A partition that is started while the group takes another one away, of which its owner has not heard yet."""

from contextlib import closing

import pytest

from stream_worker.settings import Settings
from tests.edge_contract import Member
from tests.kafka.conftest import SettingsFor
from tests.kafka.sabotage import Bug, planted
from tests.kafka.test_kafka_edge import KafkaHarness

_PARTITIONS = 6
_KAFKA = {"session_timeout_ms": 3_000, "heartbeat_interval_ms": 100}
_LOOKS = 30
"""Takes of 20 ms: many heartbeats, so that a client has heard what the group wants of it."""


def nothing_moves_before_its_owner_was_told(settings: Settings) -> None:
    with closing(KafkaHarness(settings)) as harness:
        first, second = Member(harness, "a"), Member(harness, "b")
        first.join()
        harness.until(lambda: _own(_PARTITIONS, first))
        first.subscription.start_at(0, 0)
        second.join()
        harness.until(lambda: _own(0, second) and second.subscription.membership() is not None)
        for _ in range(_LOOKS):
            second.pump()
        # The first one's client has been told by now to give half of them back; its next `take` would say so.
        for partition in range(1, _PARTITIONS):
            first.subscription.start_at(partition, 0)
        for _ in range(_LOOKS):
            second.pump()
        assert first.owned.isdisjoint(second.owned), "two members have a partition"
        harness.until(lambda: _own(_PARTITIONS // 2, first, second))
        assert first.owned.isdisjoint(second.owned)


def _own(partitions: int, *members: Member) -> bool:
    for member in members:
        member.pump()
    return all(len(member.owned) == partitions for member in members)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_nothing_moves_before_its_owner_was_told(settings_for: SettingsFor, protocol: str) -> None:
    settings = settings_for(partitions=_PARTITIONS, kafka=_KAFKA | {"group_protocol": protocol})
    nothing_moves_before_its_owner_was_told(settings)


def test_a_call_that_answers_for_the_callback_gives_away_what_is_in_hand(settings_for: SettingsFor) -> None:
    with planted(Bug.STARTED_BY_ASSIGNING_ANEW), pytest.raises(AssertionError, match="two members"):
        nothing_moves_before_its_owner_was_told(settings_for(partitions=_PARTITIONS, kafka=_KAFKA))
