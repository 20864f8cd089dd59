"""What one transaction may say, and what follows from it."""

from unittest.mock import patch

import pytest

from stream_worker.embedded.memory_edge import MemoryTransactions
from stream_worker.errors import Code, Fatal
from stream_worker.kafka.protocols import Aborted, Batch, CommitResult, Refused
from stream_worker.record import Outgoing
from tests.unit.worker.rig import Rig, settings


@pytest.mark.parametrize("read_lately", range(4))
def test_no_record_is_passed_over_when_others_partitions_are_given_away(read_lately: int) -> None:
    """Revoking is served in the middle of a `take`: what was fetched before it is not settled by it."""
    rig = Rig()
    first = rig.start("w0").worker
    rig.run(1.0)
    conversations: dict[int, str] = {}
    while len(conversations) < 4:
        record = rig.send(f"c-{len(rig.outcomes)}", message_id=f"warm-{len(rig.outcomes)}", text="hello")
        conversations.setdefault(record.partition, f"c-{len(rig.outcomes)}")
        rig.run(0.5)
    for partition in range(read_lately):  # which one is read first is another one each time
        rig.send(conversations[partition], message_id=f"late-{partition}", text="hello")
        rig.run(0.5)
    second = rig.start("w1").worker
    sent = set(rig.outcomes)
    for number in range(6):
        second.tick()
        for partition, conversation in conversations.items():
            rig.send(conversation, message_id=f"m-{partition}-{number}", text="hello")
            sent.add(f"m-{partition}-{number}")
        first.tick()
        rig.clock.advance(0.005)
    rig.run(20.0)
    assert rig.outcomes == {event_id: ["replied"] for event_id in sent}


def test_lag_reads_zero_also_after_an_abort_of_what_only_moved_the_position() -> None:
    rig = Rig()
    rig.start()
    rig.run(0.5)
    record = rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    topic = rig.settings.topics.events
    aborted = rig.broker.producer("other", 10)
    aborted.begin()
    aborted.send(Outgoing(topic, b"c-1", b"{}"))
    aborted.abort()
    answers: list[CommitResult] = [Aborted("a test", True)]
    commit = MemoryTransactions.commit

    def once_aborted(self: MemoryTransactions, batch: Batch, _within_s: float | None = None) -> CommitResult:
        return answers.pop() if answers else commit(self, batch)

    with patch.object(MemoryTransactions, "commit", once_aborted):
        rig.run(2.0)
    assert not answers
    assert rig.broker.group("test", topic).committed(record.partition) == rig.broker.log(topic, record.partition).end


def test_a_broker_that_refuses_a_ledger_ends_the_process() -> None:
    rig = Rig()
    rig.start()

    def refused(self: MemoryTransactions, batch: Batch, _within_s: float | None = None) -> CommitResult:
        return Refused("MSG_SIZE_TOO_LARGE")

    with patch.object(MemoryTransactions, "commit", refused), pytest.raises(Fatal) as caught:
        rig.run(5.0)
    assert caught.value.code is Code.RECORD_REFUSED
    assert "ledger" in str(caught.value)


def test_a_state_that_was_cut_leaves_the_overlay() -> None:
    rig = Rig(settings(conversation={"max_state_bytes": 8_192}))
    worker = rig.start().worker
    for turn in range(4):
        for number in range(10):
            rig.send(f"c-{number}", message_id=f"m-{number}-{turn}", text="x" * 2_500)
        rig.run(1.0)
    assert len(rig.replies) == 40
    assert not any(assignment.states._overlay for assignment in worker._assignments.values())


def _aborting(rig: Rig, times: int, *, rebalancing: bool) -> list[str]:
    """So many transactions in a row are aborted while one event waits; the aborts that the worker told of."""
    left = [Aborted("INVALID_TXN_STATE", rebalancing)] * times
    commit = MemoryTransactions.commit

    def aborts(self: MemoryTransactions, batch: Batch, _within_s: float | None = None) -> CommitResult:
        return left.pop() if left else commit(self, batch)

    with patch.object(MemoryTransactions, "commit", aborts):
        rig.send(message_id=f"m-{times}-{rig.clock.now_ms()}", text="hello")
        rig.run(3.0)
    return rig.workers["w0"].journal.aborts


def test_so_many_aborts_in_a_row_end_the_process() -> None:
    rig = Rig(settings(kafka={"max_aborts_in_a_row": 5}))
    rig.start()
    rig.run(0.5)
    for _ in range(3):
        _aborting(rig, 4, rebalancing=False)
    assert len(rig.replies) == 3, "a commit between them begins the count anew"
    with pytest.raises(Fatal, match="5 transactions in a row") as ended:
        _aborting(rig, 5, rebalancing=False)
    assert ended.value.code is Code.TOO_MANY_ABORTS


def test_the_aborts_of_a_group_that_rebalances_are_not_counted() -> None:
    rig = Rig(settings(kafka={"max_aborts_in_a_row": 5}))
    rig.start()
    rig.run(0.5)
    assert len(_aborting(rig, 50, rebalancing=True)) == 50
    assert len(rig.replies) == 1
