"""What is left of an erased conversation: its events' ids for a while, then nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from stream_worker.contracts.internal import state_key
from stream_worker.conversation.erasures import MARKS_AT_ONCE, Erasures
from stream_worker.conversation.state import ConversationState, load_state
from stream_worker.conversation.states import States
from stream_worker.conversation.store import MemoryStore
from stream_worker.kafka.outbox import Settlement
from stream_worker.record import Outgoing
from stream_worker.settler import Settler
from tests.unit.worker.rig import Rig, settings

_TTL_S = 60


def _rig() -> Rig:
    rig = Rig(settings(topics={"partitions": 1}, conversation={"dedup_ttl_s": _TTL_S}))
    rig.stores["w0"] = MemoryStore(rig.clock)
    return rig


def _last_state(rig: Rig, conversation: str) -> bytes | None:
    """As it stands in the changelog; fails where there is none and never was."""
    key = state_key(conversation)
    values = [record.value for record in rig.broker.read_committed(rig.settings.changelog) if record.key == key]
    return values[-1]


def _erased(rig: Rig) -> None:
    rig.start()
    rig.send(message_id="m-1", text="my name is Ann")
    rig.run(2.0)
    rig.send(type="erasure", message_id="e-1")
    rig.run(2.0)


def _stays(rig: Rig) -> None:
    rig.run(_TTL_S, step=0.5)


def _is_restored(rig: Rig) -> None:
    rig.kill()
    rig.stores.clear()
    rig.run(_TTL_S, step=0.5)
    rig.start()
    rig.run(30.0, step=0.05)


def _comes_back_to_its_disk(rig: Rig) -> None:
    rig.kill()
    rig.run(_TTL_S, step=0.5)
    rig.start()
    rig.run(30.0, step=0.05)


@pytest.mark.parametrize("and_then", [_stays, _is_restored, _comes_back_to_its_disk])
def test_nothing_is_left_when_nobody_repeats_an_event_any_more(and_then: Callable[[Rig], None]) -> None:
    rig = _rig()
    _erased(rig)
    kept = _last_state(rig, "c-1")
    assert kept is not None
    assert load_state(kept).remembered
    and_then(rig)
    assert _last_state(rig, "c-1") is None
    if rig.stores:
        assert rig.stores["w0"].get(0, b"c-1") is None
        assert list(rig.stores["w0"].marked(0)) == []
    written = len(rig.broker.read_committed(rig.settings.changelog))
    rig.run(5.0, step=0.05)
    assert len(rig.broker.read_committed(rig.settings.changelog)) == written, "it vanishes once"


def test_a_repeated_event_brings_nothing_back_meanwhile() -> None:
    rig = _rig()
    _erased(rig)
    rig.send(message_id="m-1", text="my name is Ann")
    rig.run(2.0)
    assert rig.outcomes["m-1"] == ["replied", "duplicate"]
    assert len(rig.replies) == 1


@pytest.mark.parametrize("again", [False, True])
def test_who_writes_again_is_kept_until_erased_again(*, again: bool) -> None:
    rig = _rig()
    _erased(rig)
    rig.run(_TTL_S / 2, step=0.5)
    rig.send(message_id="m-2", text="hello again")
    rig.run(2.0)
    if again:
        rig.send(type="erasure", message_id="e-2")
        rig.run(2.0)
    rig.run(_TTL_S * 0.6, step=0.5)
    kept = _last_state(rig, "c-1")
    assert kept is not None
    assert load_state(kept).turns == (0 if again else 1)
    rig.run(_TTL_S, step=0.5)
    assert (_last_state(rig, "c-1") is None) == again


def test_without_a_window_nothing_is_left_at_once() -> None:
    rig = Rig(settings(topics={"partitions": 1}, conversation={"dedup_window": 0, "dedup_ttl_s": 0}))
    _erased(rig)
    assert _last_state(rig, "c-1") is None


@pytest.mark.parametrize("and_then", [_stays, _comes_back_to_its_disk])
def test_a_worker_that_does_not_look_keeps_the_ids(
    and_then: Callable[[Rig], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug that the tests above are there for."""
    monkeypatch.setattr(States, "erased_before", lambda *_: iter(()))
    rig = _rig()
    _erased(rig)
    and_then(rig)
    assert _last_state(rig, "c-1") is not None


def test_a_hand_back_after_the_erasure_keeps_nothing() -> None:
    rig = _rig()
    _erased(rig)
    rig.send(type="handback", message_id="h-1")
    rig.run(_TTL_S * 1.5, step=0.5)
    assert _last_state(rig, "c-1") is None


def _is_its_metric(record: Outgoing) -> bool:
    return b'"erasure"' in (record.value or b"") and b'"silent"' in (record.value or b"")


def _is_its_state(record: Outgoing) -> bool:
    return (record.key or b"").startswith(b"c/") and b'"erased_at":1' in (record.value or b"")


def erasure_is_carried_out_though_refused(*, state: bool) -> None:
    """The broker takes no metric of an erasure, or moreover no state that it leaves; and the conversation goes on."""
    rig = _rig()
    rig.broker.refuse(rig.settings.topics.metrics, _is_its_metric)
    if state:
        rig.broker.refuse(rig.settings.changelog, _is_its_state)
    rig.start()
    rig.send(message_id="m-1", text="my name is Ann")
    rig.run(2.0)
    rig.send(message_id="m-2", text="Ann again")
    rig.send(type="erasure", message_id="e-1")
    rig.send(message_id="m-3", text="hello")
    rig.send("c-2", message_id="m-4", text="hello")
    rig.run(5.0)
    assert rig.outcomes == {
        "m-1": ["replied"],
        "m-2": ["withdrawn"],
        "e-1": ["dead_lettered"],
        "m-3": ["replied"],
        "m-4": ["replied"],
    }
    kept = _last_state(rig, "c-1")
    assert kept is not None
    assert b"Ann" not in kept
    assert [line.text for line in load_state(kept).history][:1] == ["hello"]


@pytest.mark.parametrize("state", [False, True])
def test_an_erasure_is_carried_out_though_the_broker_refuses_its_records(*, state: bool) -> None:
    erasure_is_carried_out_though_refused(state=state)


def test_an_erasure_that_is_dropped_with_its_records_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Settler.refused

    def forgetful(*arguments: Any) -> Settlement:
        return structs.replace(honest(*arguments), state=None)

    monkeypatch.setattr(Settler, "refused", forgetful)
    with pytest.raises(AssertionError):
        erasure_is_carried_out_though_refused(state=False)


def test_marks_of_former_erasures_are_read_a_few_at_a_time_and_no_state_is_decoded_for_them() -> None:
    class Counting(MemoryStore):
        asked = 0

        def get(self, partition: int, key: bytes) -> bytes | None:
            self.asked += 1
            return super().get(partition, key)

    store, marks = Counting(), 5 * MARKS_AT_ONCE // 2
    names = [f"c-{number:05}" for number in range(marks)]
    # Half of a state is no state; the time stands at its beginning.
    raw = ConversationState(erased_at=7).dump()[:40]
    store.apply(0, {name.encode(): raw for name in names}, 1, [name.encode() for name in names])
    erasures, found = Erasures(store, 0), list[str]()
    for looks in range(1, 40):
        due = erasures.before(8, 50)
        assert store.asked <= looks * MARKS_AT_ONCE
        for name in due:
            erasures.note(name, 0)
        found += due
    assert sorted(found) == names
    assert erasures.before(8, 50) == []
