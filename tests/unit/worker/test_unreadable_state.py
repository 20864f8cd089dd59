"""A state that cannot be read stops its partition, whatever event meets it; the others, and the next start, go on."""

from typing import Any

import pytest

from stream_worker.contracts.internal import LEDGER_PREFIX, LedgerRecord, load_ledger, state_key
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.record import Outgoing
from tests.unit.worker.rig import Rig, settings


def _of_partition(partition: int, number: int = 0) -> str:
    """A conversation of that partition, of four."""
    found = [name for name in (f"c-{each}" for each in range(400)) if partition_of(name.encode(), 4) == partition]
    return found[number]


def _damage(rig: Rig, conversation: str) -> None:
    partition = partition_of(conversation.encode(), 4)
    rig.broker.store(Outgoing(rig.settings.changelog, state_key(conversation), b"{broken", partition=partition))


def _ledger(rig: Rig, partition: int) -> LedgerRecord:
    values = [
        record.value
        for record in rig.broker.read_committed(rig.settings.changelog)
        if record.value and record.partition == partition and (record.key or b"").startswith(LEDGER_PREFIX)
    ]
    return load_ledger(values[-1], partition)


@pytest.mark.parametrize("way", ["expired", "shed", "asked"])
def test_whatever_an_event_comes_to_its_partition_alone_is_refused(way: str) -> None:
    limited = {"sender_messages_per_minute": 1, "sender_burst": 1} if way == "shed" else {}
    rig = Rig(settings(admission=limited))
    rig.send(_of_partition(0, 1), message_id="m-0", text="hello")
    late: dict[str, Any] = {"expires_at": 1} if way == "expired" else {}
    rig.send(_of_partition(0), message_id="m-1", text="hello", **late)
    _damage(rig, _of_partition(0))
    started = rig.start()
    rig.run(2.0)
    assert [error.code.id for error in started.journal.refusals] == ["SW-S002"]
    rig.send(_of_partition(1), message_id="m-2", text="hello", sender={"id": "u-2"})
    rig.run(2.0)
    assert rig.outcomes["m-2"] == ["replied"]


def test_what_a_refused_partition_had_in_hand_does_not_slow_the_others() -> None:
    marks = {"upper_mark_events": 40, "lower_mark_events": 20, "pause_after_ms": 100, "max_running_turns": 2}
    rig = Rig(settings(admission=marks), seconds=lambda _: 0.5)
    for number in range(1, 7):
        rig.send(_of_partition(0, number), message_id=f"m-{number}", text="hello")
    rig.send(_of_partition(0), message_id="bad", text="hello")
    _damage(rig, _of_partition(0))
    started = rig.start()
    rig.run(2.0)
    assert started.journal.refusals
    others = [f"o-{number}" for number in range(20)]
    for number, name in enumerate(others):
        rig.send(_of_partition(1, number), message_id=name, text="hello")
    rig.run(60.0, step=0.02)
    assert set(others) <= set(rig.outcomes)
    assert started.journal.snapshots[-1].waiting_events == 0


def test_a_suspect_of_a_refused_partition_holds_nobody_up() -> None:
    rig = Rig(seconds=lambda _: 1_000.0)
    rig.start()
    rig.run(1.0)
    rig.send(_of_partition(0, 1), message_id="good", text="hello")
    rig.run(0.5)
    for crash in range(2):
        rig.kill()
        rig.clock.advance(120)
        if crash:
            _damage(rig, _of_partition(0))
            rig.send(_of_partition(0), message_id="bad", text="hello")
            rig.stepper = lambda clock: ScriptedStepper(clock, seconds=lambda _: 0.05, reply=lambda _: "Hello.")
        rig.start()
        rig.run(0.5)
    rig.send(_of_partition(1), message_id="other", text="hello")
    rig.run(60.0, step=0.02)
    assert rig.outcomes["other"] == ["replied"]


def test_a_stop_in_good_order_is_no_crash_and_condemns_nobody() -> None:
    rig = Rig(seconds=lambda _: 1.0)
    rig.start()
    rig.run(1.0)
    rig.stop()
    _damage(rig, _of_partition(0))
    rig.send(_of_partition(0, 1), message_id="good", text="hello")
    rig.start()
    rig.run(0.3)
    rig.send(_of_partition(0), message_id="bad", text="hello")
    rig.run(1.0)
    rig.stop()
    for _ in range(4):
        started = rig.start()
        rig.run(3.0)
        assert started.journal.refusals
        rig.stop()
        assert _ledger(rig, 0).released
        assert _ledger(rig, 0).starts == 0
    assert "dead_lettered" not in rig.outcomes.get("good", [])
