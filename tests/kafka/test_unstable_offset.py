"""A transaction that is pending on a group's offset is waited for as long as one of ours may last, not for ever."""

import pytest

from stream_worker.errors import Code, PartitionRefused
from stream_worker.kafka.offsets import KafkaInquiry, KafkaOffsets
from stream_worker.kafka.topic_admin import connect
from tests.edge_contract import joined
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.test_kafka_edge import KafkaHarness


def test_an_offset_that_stays_unstable_refuses_its_partition_alone(settings_for: SettingsFor) -> None:
    harness = KafkaHarness(settings_for())
    settings = harness.settings
    try:
        member = joined(harness, "a")
        harness.hang([], {0: 5}, member.membership())
        offsets = KafkaOffsets(
            lambda: connect(settings),
            settings.application_id,
            settings.topics.events,
            settings.changelog,
            unstable_s=1.0,
        )
        stuck, free = offsets.ask(0), offsets.ask(1)
        eventually(lambda: free.answer() is not None)
        with pytest.raises(PartitionRefused, match="find-hanging") as refused:
            eventually(lambda: _refused(stuck))
        assert (refused.value.code, refused.value.partition) == (Code.OFFSET_UNSTABLE, 0)
    finally:
        harness.close()


def _refused(inquiry: KafkaInquiry) -> bool:
    return inquiry.answer() is not None
