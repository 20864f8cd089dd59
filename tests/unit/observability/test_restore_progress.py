"""A restore that takes long says how far it is, in the log and in metrics, and is served beside."""

import pytest
from structlog.testing import capture_logs

from stream_worker import taking
from stream_worker.contracts.internal import state_key
from stream_worker.conversation.state import ConversationState
from stream_worker.observability.metric_table import Metric
from stream_worker.record import Outgoing
from tests.unit.observability.watched import Watched
from tests.unit.worker.rig import settings

_RECORDS = 3_000


def test_what_is_left_to_read_falls_in_log_and_metrics_while_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice ends after one read here, and each tick takes a second."""
    monkeypatch.setattr(taking, "_SLICE_S", 0.0)
    monkeypatch.setattr(taking, "_SLICE_RECORDS", 100)
    with capture_logs() as lines:
        watched = Watched(settings(topics={"partitions": 2}))
        rig = watched.rig
        partition = rig.send("c-1", message_id="m-1", text="hello").partition
        raw = ConversationState(turns=1).dump()
        for number in range(_RECORDS):
            state = Outgoing(rig.settings.changelog, state_key(f"s-{number}"), raw, partition=1 - partition)
            rig.broker.store(state)
        rig.start()
        left: list[float] = []
        answered_at = 0
        for second in range(60):
            rig.run(1.0, step=1.0)
            left.append(watched.value(Metric.CHANGELOG_LAG) or 0.0)
            restoring = watched.value(Metric.RESTORING_PARTITIONS)
            answered_at = answered_at or (second if rig.outcomes else 0)
            if not left[-1] and not restoring and rig.outcomes:
                break
    falling = [each for each in left if each]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 20
    assert left[-1] == 0
    assert answered_at < left.index(min(falling)), "the other partition was served meanwhile"
    told = [line["offsets_to_read"] for line in lines if line["event"] == "restoring"]
    assert len(told) >= 3, "every five seconds"
    assert told == sorted(told, reverse=True)
