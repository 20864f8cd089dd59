"""A refused partition: nothing of it is read, everybody can see it, and the log names the command that cures."""

from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from stream_worker.assembly import Parts
from stream_worker.contracts.internal import ledger_key, state_key
from stream_worker.errors import Code
from stream_worker.observability.metric_table import Metric
from stream_worker.record import Outgoing
from stream_worker.worker import Worker
from tests.unit.observability.watched import Watched
from tests.unit.worker.rig import Rig, settings

_BROKEN = b"{broken"
_UNREADABLE = {
    Code.LEDGER_UNREADABLE: (ledger_key, "`stream-worker run --adopt-group`"),
    Code.STATE_CORRUPT: (lambda _: state_key("c-1"), "`printf 'c/%s\\t\\n' c-1 | kcat -P -b localhost:9092 "),
}


@pytest.mark.parametrize("code", _UNREADABLE, ids=lambda code: code.id)
def test_a_refusal_is_seen_in_probe_metric_and_log_with_its_cure(code: Code) -> None:
    key, cure = _UNREADABLE[code]
    with capture_logs() as lines:
        watched = Watched(settings())
        rig = watched.rig
        partition = rig.send("c-1", message_id="m-1", text="hello").partition
        rig.broker.store(Outgoing(rig.settings.changelog, key(partition), _BROKEN, partition=partition))
        rig.start()
        watched.board.engine_loaded = True
        rig.run(3.0)
    assert watched.value(Metric.REFUSED_PARTITIONS) == 1
    assert [name for name, good in watched.board.ready().items() if not good] == ["no partition refused"]
    (line,) = [line for line in lines if line["event"] == "partition refused"]
    assert (line["partition"], line["code"], line["log_level"]) == (partition, code.id, "error")
    assert cure in line["detail"]


def reads_nothing_of_a_refused_partition() -> None:
    """Also after back-pressure has paused all partitions and let them go on."""
    rig = Rig(
        settings(admission={"upper_mark_events": 8, "lower_mark_events": 7, "pause_after_ms": 100}),
        seconds=lambda _: 0.2,
    )
    partition = rig.send("c-1", message_id="m-1", text="hello").partition
    rig.broker.store(Outgoing(rig.settings.changelog, state_key("c-1"), _BROKEN, partition=partition))
    running = rig.start()
    rig.run(2.0)
    assert [error.code for error in running.journal.refusals] == [Code.STATE_CORRUPT]
    subscription = running.worker._connection.clients.subscription
    stands = subscription.position(partition)
    for number in range(200):
        rig.send(f"c-{number}", message_id=f"n-{number}", text="hello")
    rig.run(60.0)
    assert any(snapshot.paused for snapshot in running.journal.snapshots), "the test needs a pause"
    last = running.journal.snapshots[-1]
    assert not last.paused
    assert last.lags[partition] > 0, "what stands still is told as lag"
    assert subscription.position(partition) == stands


def test_nothing_of_a_refused_partition_is_read() -> None:
    reads_nothing_of_a_refused_partition()


def test_a_refused_partition_that_is_read_on_is_noticed() -> None:
    with patch.object(Worker, "_pause", lambda self, *, everything: 1), pytest.raises(AssertionError):
        reads_nothing_of_a_refused_partition()


def test_a_group_is_adopted_in_place_of_a_ledger_that_cannot_be_read_once_and_for_all() -> None:
    """The broken record stands in the changelog until it is compacted: what was written after it counts."""
    rig = Rig(settings(topics={"partitions": 1}))
    rig.start()
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(1.0)
    rig.stop()
    rig.broker.store(Outgoing(rig.settings.changelog, ledger_key(0), _BROKEN, partition=0))
    refusing = rig.start()
    rig.run(1.0)
    assert [error.code for error in refusing.journal.refusals] == [Code.LEDGER_UNREADABLE]
    rig.stop()
    with patch("tests.unit.worker.rig.Parts", lambda **parts: Parts(**parts, adopt_group=True)):
        adopting = rig.start()
    rig.run(1.0)
    assert any("adopted" in warning for warning in adopting.journal.warnings)
    rig.stop()
    again = rig.start()
    rig.send("c-1", message_id="m-2", text="hello")
    rig.run(1.0)
    assert again.journal.refusals == []
    assert rig.outcomes == {"m-1": ["replied"], "m-2": ["replied"]}
