"""An event that ends each process that tries it costs three crashes at the most, and nobody else's reply."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_worker.contracts.internal import LEDGER_PREFIX, LedgerRecord, load_ledger
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.kafka import reconcile as reconciling
from stream_worker.kafka.ledger import Balance
from stream_worker.orders import Fault, Generate
from stream_worker.outcome import DeadLetterReason
from stream_worker.suspicion import Foreseen, Suspicion
from tests import checker
from tests.unit.worker.rig import Rig, settings
from tests.unit.worker.test_faults import Failing

_POISON = "poison"
_MAX_CRASHES = 3


class _Crash(BaseException):
    """Ends a worker as a signal would: nothing of ours catches it."""


class _Poisonable(ScriptedStepper):
    """Dies of the first word of an answer to the poison."""

    def add(self, order: Generate) -> None:
        if _POISON in repr(order.prompt):
            raise _Crash
        super().add(order)


def _uneven(order: Generate) -> float:
    return 0.001 * float(2 ** (int(order.ref.turn_id[:2], 16) % 8))


class _Supervised:
    """Workers that are started again when they crash."""

    def __init__(self, rig: Rig, workers: int) -> None:
        self.rig = rig
        self.crashes = 0
        for number in range(workers):
            rig.start(f"w{number}")

    def run(self, seconds: float, step: float = 0.01) -> None:
        rig = self.rig
        end = rig.clock.monotonic() + seconds
        while rig.clock.monotonic() < end:
            for name in list(rig.workers):
                try:
                    rig.workers[name].worker.tick()
                except _Crash:
                    self.crashes += 1
                    rig.kill(name)
                    rig.start(name)
            rig.clock.advance(step)

    def run_until_settled(self, events: int, deadline_s: float = 120.0) -> None:
        end = self.rig.clock.monotonic() + deadline_s
        while sum(map(len, self.rig.outcomes.values())) < events:
            assert self.rig.clock.monotonic() < end, f"not settled: {self.crashes} crashes, {self.rig.outcomes}"
            self.run(1.0)
        self.run(1.0)


def _rig(**changes: Any) -> Rig:
    rig = Rig(settings(**changes), seconds=_uneven)
    rig.stepper = lambda clock: _Poisonable(clock, seconds=_uneven)
    return rig


def _ledgers(rig: Rig) -> list[LedgerRecord]:
    records = rig.broker.read_committed(rig.settings.changelog)
    return [
        load_ledger(each.value, each.partition)
        for each in records
        if each.value and (each.key or b"").startswith(LEDGER_PREFIX)
    ]


def _last_ledgers(rig: Rig) -> list[LedgerRecord]:
    return list({ledger.partition: ledger for ledger in _ledgers(rig)}.values())


def poison_is_found(rig: Rig, conversations: list[int], poison_at: int, workers: int) -> int:
    """Messages of these conversations, one of them poison; returns how often a worker crashed."""
    supervised = _Supervised(rig, workers)
    supervised.run(2.0)
    for number, conversation in enumerate(conversations):
        text = _POISON if number == poison_at else f"text {number}"
        rig.send(f"c-{conversation}", message_id=f"m-{number}", text=text)
    supervised.run_until_settled(len(conversations))
    outcomes = rig.outcomes
    assert outcomes.pop(f"m-{poison_at}") == ["dead_lettered"]
    assert set(map(tuple, outcomes.values())) <= {("replied",)}
    assert supervised.crashes <= _MAX_CRASHES, f"{supervised.crashes} crashes"
    checker.no_event_is_answered_twice(rig.replies)
    (dead,) = rig.broker.read_committed(rig.settings.topics.dead_letters)
    assert dict(dead.headers)["sw_reason"] == DeadLetterReason.SUSPECTED_CRASH.value.encode()
    rig.send("c-0", message_id="m-after", text="still there?")
    supervised.run(15.0)
    assert rig.outcomes["m-after"] == ["replied"]
    last = _last_ledgers(rig)
    assert {(ledger.starts, ledger.careful_to, ledger.suspect) for ledger in last} == {(0, None, None)}
    return supervised.crashes


@given(
    conversations=st.lists(st.integers(0, 7), min_size=1, max_size=12),
    data=st.data(),
    workers=st.integers(1, 2),
    running=st.sampled_from([1, 4, 64]),
)
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_poison_event_costs_three_crashes_at_most_and_nobody_elses_reply(
    conversations: list[int], data: st.DataObject, workers: int, running: int
) -> None:
    poison_at = data.draw(st.integers(0, len(conversations) - 1))
    poison_is_found(_rig(admission={"max_running_turns": running}), conversations, poison_at, workers)


def test_sixty_good_turns_before_it_and_idle_partitions_beside_it_change_nothing() -> None:
    rig = _rig(topics={"partitions": 12})
    assert poison_is_found(rig, [*range(30), *range(30), 3], 60, workers=1) == _MAX_CRASHES


@contextmanager
def _planted(owner: object, name: str, bug: object) -> Iterator[None]:
    honest = vars(owner)[name]
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, honest)


def test_a_suspect_that_is_not_committed_before_it_runs_is_never_found() -> None:
    seldom = {"commit_interval_ms": 1_000}
    poison_is_found(_rig(kafka=seldom), [0, 1, 2, 3], 2, workers=1)
    with _planted(Suspicion, "names", lambda self, offset: True), pytest.raises(AssertionError, match="crashes"):
        poison_is_found(_rig(kafka=seldom), [0, 1, 2, 3], 2, workers=1)


def test_crashes_that_are_not_counted_never_end() -> None:
    honest = reconciling._continued

    def uncounted(*arguments: Any, **options: Any) -> reconciling.Start:
        return replace(honest(*arguments, **options), crashes={})

    with _planted(reconciling, "_continued", uncounted), pytest.raises(AssertionError, match="crashes"):
        poison_is_found(_rig(), [0, 1, 2, 3], 2, workers=1)


_JOINED = {"on_new_message": "interrupt", "merge_window_ms": 50, "max_hold_ms": 1_000}


@pytest.mark.parametrize("taking", [{}, _JOINED])
def test_a_poison_far_behind_what_ran_before_is_found_as_well(taking: dict[str, Any]) -> None:
    """In the middle of a burst of one conversation, beside others that are long through."""
    admission = {"max_waiting_events": 500, **taking}
    conversations = [*range(1, 4), *[0] * 90, *range(1, 4)]
    poison_is_found(_rig(admission=admission), conversations, 80, workers=1)
    with (
        _planted(Suspicion, "may_begin", lambda self, offsets: True),
        _planted(Suspicion, "reserve", lambda self, balance, next_ones: None),
        pytest.raises(AssertionError, match="not settled"),
    ):
        poison_is_found(_rig(admission=admission), conversations, 80, workers=1)


def _most_suspects(rig: Rig) -> int:
    return max(sum(crashes >= 2 for _, crashes in ledger.crashes) for ledger in _ledgers(rig))


def test_two_kills_amid_a_backlog_slow_down_what_had_begun_and_no_more() -> None:
    """A hundred turns alone would take longer than this; before each kill hardly one had begun."""
    rig = _killed_amid_a_backlog()
    rig.run(80.0, step=0.02)
    assert any(ledger.starts == 2 for ledger in _ledgers(rig)), "nobody was careful"
    assert all(ledger.starts == 0 for ledger in _last_ledgers(rig)), "what only waited runs alone"


def test_few_of_those_that_wait_are_suspects() -> None:
    def may_all_begin(self: Suspicion, balance: Balance, next_ones: object) -> None:
        self.foreseen = Foreseen(frozenset(balance.open))

    assert 0 < _most_suspects(_killed_amid_a_backlog()) <= 40, "running ones, and those that would have been next"
    with _planted(Suspicion, "reserve", may_all_begin):
        assert _most_suspects(_killed_amid_a_backlog()) > 400


def _killed_amid_a_backlog() -> Rig:
    admission = {"max_running_turns": 8, "max_waiting_events": 1_000}
    rig = Rig(settings(topics={"partitions": 2}, admission=admission), seconds=lambda _: 0.1)
    for number in range(1_000):
        rig.send(f"c-{number % 50}", message_id=f"m-{number}", text="hello")
    for crashes in range(2):
        rig.start(f"w{crashes}")
        while min((ledger.starts for ledger in _last_ledgers(rig)), default=-1) < crashes:
            rig.run(0.2)
        rig.run(1.0)
        rig.kill(f"w{crashes}")
    rig.start("w2")
    rig.run(10.0)
    return rig


def test_clients_that_are_replaced_make_no_event_a_suspect() -> None:
    """The process lives, so what ran was not its end: not even where it happens twice with one turn running."""
    rig = Rig(settings(), seconds=lambda _: 5.0)
    running = rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(3.0, step=0.05)
    for _ in range(2):
        running.edge.break_clients()
        rig.run(3.0, step=0.05)
    assert running.journal.replaced == 2
    rig.run(60.0, step=0.05)
    assert rig.outcomes == {"m-1": ["replied"]}
    assert all(ledger.starts == 0 for ledger in _ledgers(rig))


def test_an_engine_that_is_away_makes_no_event_a_suspect() -> None:
    """Careful after two kills; then the engine goes, and the process is killed while the turn rests."""
    made: list[Failing] = []

    def wrap(inner: Any) -> Any:
        made.append(Failing(inner))
        return made[-1]

    rig = Rig(settings(), seconds=lambda _: 10.0, wrap=wrap)
    for number in range(3):
        rig.start(f"w{number}")
        if number == 0:
            rig.run(1.0)
            rig.send(message_id="m-1", text="hello")
        if number == 2:
            made[-1].fault = Fault.ENGINE
        rig.run(12.0, step=0.05)
        rig.kill(f"w{number}")
    assert made[-1].asked, "the careful worker never tried it"
    assert max(ledger.starts for ledger in _ledgers(rig)) == 2
    rig.start("w3")
    rig.run(200.0, step=0.1)
    assert rig.outcomes == {"m-1": ["replied"]}


@given(
    conversations=st.lists(st.integers(0, 5), min_size=2, max_size=10),
    data=st.data(),
    running=st.sampled_from([1, 64]),
    commit_interval_ms=st.sampled_from([20, 300]),
)
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_of_several_poison_events_is_found_by_a_search_of_its_own(
    conversations: list[int], data: st.DataObject, running: int, commit_interval_ms: int
) -> None:
    """Also where one lies right behind the other, or before it, and kills before the first is buried."""
    numbers = st.integers(0, len(conversations) - 1)
    poisons = data.draw(st.frozensets(numbers, min_size=2, max_size=3))
    rig = _rig(
        topics={"partitions": 1},
        admission={"max_running_turns": running},
        kafka={"commit_interval_ms": commit_interval_ms},
    )
    supervised = _Supervised(rig, 1)
    supervised.run(2.0)
    for number, conversation in enumerate(conversations):
        text = _POISON if number in poisons else f"text {number}"
        rig.send(f"c-{conversation}", message_id=f"m-{number}", text=text)
    supervised.run_until_settled(len(conversations), deadline_s=300.0)
    assert supervised.crashes <= len(poisons) * _MAX_CRASHES
    dead = {event for event, outcomes in rig.outcomes.items() if outcomes == ["dead_lettered"]}
    assert dead == {f"m-{number}" for number in poisons}
