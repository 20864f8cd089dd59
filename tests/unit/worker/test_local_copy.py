"""A worker that comes back to its disk goes on with its local copy, and loses nothing with a bad one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from stream_worker import taking
from stream_worker.contracts.internal import state_key
from stream_worker.conversation.copy import tail_start
from stream_worker.conversation.state import load_state
from stream_worker.conversation.store import MemoryStore
from stream_worker.errors import Code, Fatal, LocalStateUnusable
from stream_worker.record import Outgoing
from stream_worker.worker import Worker
from tests import checker
from tests.unit.worker.rig import Rig, settings


def _rig() -> Rig:
    rig = Rig(settings(topics={"partitions": 1}))
    rig.stores["w0"] = MemoryStore(rig.clock)
    return rig


def _turns(rig: Rig, conversation: str) -> int:
    raw = rig.stores["w0"].get(0, conversation.encode())
    return load_state(raw).turns if raw else 0


def copy_is_gone_on_with(rig: Rig) -> None:
    """w0 answers, and is killed; another one goes on; w0 comes back to its disk."""
    rig.start("w0")
    for number in range(30):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.run(3.0)
    rig.kill("w0")
    rig.start("w1")
    rig.run(10.0, step=0.05)
    rig.send("c-0", message_id="m-again", text="hello")
    rig.run(3.0)
    rig.stop("w1")
    read = rig.start("w0").journal
    rig.run(3.0)
    rig.send("c-0", message_id="m-third", text="hello")
    rig.run(3.0)
    assert (_turns(rig, "c-0"), _turns(rig, "c-1")) == (3, 1), "the copy is not the changelog's"
    assert sum(read.restored) < 15, "more than the tail was read"
    checker.state_is_what_was_published(rig.replies, rig.changelog)


def test_only_the_tail_is_read_and_it_is_enough() -> None:
    copy_is_gone_on_with(_rig())


@contextmanager
def _planted(bug: Any) -> Iterator[None]:
    vars(taking)["tail_start"] = bug
    try:
        yield
    finally:
        vars(taking)["tail_start"] = tail_start


def test_a_copy_that_is_taken_for_current_or_never_used_is_noticed() -> None:
    with _planted(lambda copy, *, log_end, **_: None if copy is None else log_end - 1), pytest.raises(AssertionError):
        copy_is_gone_on_with(_rig())
    with _planted(lambda copy, **_: None), pytest.raises(AssertionError, match="more than the tail"):
        copy_is_gone_on_with(_rig())


class _BadDisk(MemoryStore):
    """Refuses a number of writes."""

    refuses = 0

    def apply(self, *arguments: Any) -> None:
        if self.refuses:
            self.refuses -= 1
            raise LocalStateUnusable(Code.STORE_UNUSABLE, "no space left on device")
        super().apply(*arguments)


def test_a_full_disk_costs_a_restore_and_no_event() -> None:
    rig = _rig()
    disk = rig.stores["w0"] = _BadDisk(rig.clock)
    journal = rig.start("w0").journal
    rig.run(1.0)
    for number in range(20):
        rig.send(f"c-{number % 5}", message_id=f"m-{number}", text="hello")
    disk.refuses = 1
    rig.run(20.0, step=0.02)
    assert journal.replaced == 1
    assert set(map(tuple, rig.outcomes.values())) == {("replied",)}
    assert len(rig.outcomes) == 20
    assert sum(_turns(rig, f"c-{number}") for number in range(5)) == 20


def test_a_copy_that_was_half_restored_does_not_become_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind where it broke off lie deletions, of which the changelog keeps none for longer than a day."""
    monkeypatch.setattr(taking, "_SLICE_RECORDS", 5)
    monkeypatch.setattr(taking, "_SLICE_S", 0.0)
    rig = _rig()
    rig.start("w0")
    rig.run(1.0)
    rig.send("c-0", message_id="m-0", text="hello")
    rig.run(1.0)
    rig.kill("w0")
    rig.start("w1")
    rig.run(10.0, step=0.05)
    for number in range(30):
        rig.send(f"c-{number}", message_id=f"m-{number + 1}", text="hello")
        rig.run(0.1)
    rig.stop("w1")
    rig.clock.advance(20 * 3600)
    rig.start("w0")
    rig.run(0.02)
    half = rig.stores["w0"].copy(0)
    rig.kill("w0")
    assert half is not None
    assert half.position < rig.broker.log(rig.settings.changelog, 0).end - 10, "it was not interrupted"
    rig.clock.advance(5 * 3600)
    read = rig.start("w0").journal
    rig.run(10.0)
    assert sum(read.restored) > 50, "the copy is a day old, and only its tail was read"


def disk_stays_full(rig: Rig) -> None:
    """Four times in a row it ends the worker; then there is room."""
    disk = rig.stores["w0"] = _BadDisk(rig.clock)
    for number in range(4):
        disk.refuses = 0
        rig.start("w0")
        rig.run(1.0)
        disk.refuses = 100
        rig.send("c-0", message_id=f"m-{number}", text="hello")
        with pytest.raises(Fatal, match="no space left"):
            rig.run(60.0, step=0.02)
        rig.kill("w0")
    disk.refuses = 0
    rig.start("w0")
    rig.run(20.0, step=0.02)
    assert set(map(tuple, rig.outcomes.values())) == {("replied",)}
    assert {ledger.starts for ledger in checker.ledgers(rig.changelog)} == {0}, "the disk was laid to an event"


def test_a_worker_that_a_full_disk_ends_suspects_no_event() -> None:
    disk_stays_full(_rig())


def test_without_giving_back_a_full_disk_is_laid_to_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_give_back", lambda _: None)
    with pytest.raises(AssertionError, match="laid to an event"):
        disk_stays_full(_rig())


def test_what_was_given_away_stays_so_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker joins; what the first one writes down of the partitions that it gives away finds no room."""
    rig = Rig(settings(topics={"partitions": 4}))
    disk = rig.stores["w0"] = _BadDisk(rig.clock)
    held = Worker.revoked

    def revoked(self: Worker, partitions: Sequence[int]) -> None:
        disk.refuses = 1
        held(self, partitions)

    monkeypatch.setattr(Worker, "revoked", revoked)
    first = rig.start("w0")
    rig.run(1.0)
    for number in range(16):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.start("w1")
    rig.run(30.0, step=0.02)
    assert first.journal.replaced == 1
    checker.ledgers_never_go_back(rig.changelog)
    assert set(map(tuple, rig.outcomes.values())) == {("replied",)}
    assert len(rig.outcomes) == 16


def test_a_record_behind_the_last_ledger_leaves_the_copy_a_ledger_to_stand_at() -> None:
    """Such as the tombstone that cures a state that cannot be read, and then a kill before the first commit."""
    rig = _rig()
    rig.start("w0")
    rig.run(1.0)
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(2.0)
    rig.stop("w0")
    rig.broker.store(Outgoing(rig.settings.changelog, state_key("c-1"), None, partition=0))
    rig.start("w0")
    while rig.stores["w0"].get(0, b"c-1") is not None:
        rig.run(0.005)
    rig.kill("w0")
    rig.run(10.0, step=0.05)
    started = rig.start("w0")
    rig.run(2.0)
    assert not started.journal.refusals
