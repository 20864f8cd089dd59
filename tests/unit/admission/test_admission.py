"""Back-pressure, the breaker, the order of starts: decisions over values."""

import random

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.admission.breaker import Breaker
from stream_worker.admission.expiry import has_expired
from stream_worker.admission.pressure import FULL_SPEED, Load, Pace, Pressure, Shares
from stream_worker.admission.queue import ReadyQueue
from stream_worker.settings.admission import AdmissionSettings
from tests.unit.arrivals import message

_SETTINGS = AdmissionSettings(upper_mark_events=100, lower_mark_events=50, pause_after_ms=1_000)


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0.01, 2.0)), max_size=40))
def test_the_pace_is_full_below_the_lower_mark_and_never_above_the_upper(steps: list[tuple[int, float]]) -> None:
    pressure, now, slow_since = Pressure(_SETTINGS), 0.0, None
    for events, seconds in steps:
        now += seconds
        pace = pressure.update(Load(events, 0, 0), now, engine_away=False)
        if events <= 50:
            assert pace is Pace.FULL
        if events >= 100:
            assert pace is not Pace.FULL
        if pace is Pace.FULL:
            slow_since = None
        elif slow_since is None:
            assert pace is Pace.SLOW
            slow_since = now
        assert (pace is Pace.PAUSED) <= (slow_since is not None and now - slow_since >= 1.0)
        full = max(3, 25 - events)
        assert pressure.limit(events, 5) == {Pace.FULL: full, Pace.SLOW: 1, Pace.PAUSED: 0}[pace]


def test_little_in_hand_is_topped_up_to_the_lower_mark_at_once() -> None:
    settings = AdmissionSettings(upper_mark_events=20_000, lower_mark_events=10_000)
    assert Pressure(settings).limit(0, 5) == FULL_SPEED
    assert Pressure(_SETTINGS).limit(49, 100) == 1, "never nothing"


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(0, 200), st.randoms())
def test_whatever_the_client_hands_out_first_each_partition_has_its_share_in_hand(
    backlogs: list[int], steps: int, draw: random.Random
) -> None:
    """A client that hands out one partition's records after the other's, of those that are not paused."""
    pressure, shares = Pressure(_SETTINGS), Shares(_SETTINGS)
    waiting, in_hand = dict(enumerate(backlogs)), dict.fromkeys(range(len(backlogs)), 0)
    share = max(1, 75 // len(backlogs))
    filling = 10 * len(backlogs)
    for step in range(filling + 1 + steps):
        full = shares.full(in_hand)
        limit = pressure.limit(sum(in_hand.values()), len(in_hand))
        for partition in waiting:
            taken = 0 if partition in full else min(limit, waiting[partition])
            waiting[partition] -= taken
            in_hand[partition] += taken
            limit -= taken
        assert sum(in_hand.values()) <= 25 + (share + share // 4) * len(backlogs)
        if step == filling:
            assert all(in_hand[each] >= min(share, backlogs[each]) for each in in_hand)
        if step > filling:
            settled = draw.choice(list(in_hand))
            in_hand[settled] -= min(in_hand[settled], draw.randint(0, 10))


def test_a_full_partition_goes_on_at_half_its_share_or_when_little_is_in_hand() -> None:
    shares = Shares(_SETTINGS)
    assert shares.full({0: 24, 1: 0}) == frozenset(), "below half of the lower mark nobody is held up"
    assert shares.full({0: 37, 1: 0}) == {0}
    assert shares.full({0: 20, 1: 11}) == {0}, "no back and forth: a pause throws away what was fetched"
    assert shares.full({0: 18, 1: 30}) == frozenset()
    assert shares.full({0: 40, 1: 10}) == {0}
    assert shares.full({0: 12, 1: 0}) == frozenset()


def test_uncommitted_work_counts_as_in_hand() -> None:
    pressure = Pressure(_SETTINGS)
    assert pressure.update(Load(0, 0, 60_000), 0.0, engine_away=False) is Pace.SLOW


def test_the_breaker_doubles_its_pause_and_closes_on_success() -> None:
    breaker = Breaker(1.0)
    now, pauses = 0.0, []
    for _ in range(7):
        until = breaker.fail(now)
        assert breaker.fail(now + 0.5) == until, "failures of the same wave count once"
        assert breaker.held_until(until - 0.01) == until
        pauses.append(until - now)
        now = until
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.held_until(now) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50)), min_size=1, max_size=30))
def test_starts_go_by_age_within_a_tenant_and_tenants_share(waiting: list[tuple[str, int]]) -> None:
    queue = ReadyQueue()
    for number, (tenant, age) in enumerate(waiting):
        queue.add(timestamp_ms=age, partition=0, term=1, conversation=str(number), tenant=tenant)
    popped: dict[str, list[int]] = {"a": [], "b": []}
    remaining = {tenant: sum(each == tenant for each, _ in waiting) for tenant in "ab"}
    while (candidate := queue.pop(lambda tenant: len(popped[tenant]))) is not None:
        other = "b" if candidate.tenant == "a" else "a"
        if remaining[other]:
            assert len(popped[candidate.tenant]) <= len(popped[other])
        popped[candidate.tenant].append(candidate.timestamp_ms)
        remaining[candidate.tenant] -= 1
    assert len(queue) == 0
    assert all(ages == sorted(ages) for ages in popped.values())


def test_a_conversation_waits_once_however_often_it_is_added() -> None:
    queue = ReadyQueue()
    for age in (5, 3):
        queue.add(timestamp_ms=age, partition=0, term=1, conversation="c", tenant="")
    assert len(queue) == 1
    assert queue.pop(lambda _: 0) is not None
    assert queue.pop(lambda _: 0) is None


def test_age_and_expires_at_are_looked_at() -> None:
    written = message(0).record.timestamp_ms
    assert not has_expired(message(0), written + 10**9, 0)
    assert has_expired(message(0), written + 101, 100)
    assert not has_expired(message(0), written + 100, 100)
    assert has_expired(message(0, expires_at=written + 5), written + 5, 0)


_WANTED = st.frozensets(st.tuples(st.integers(0, 3), st.integers(0, 19).map("c-{}".format)))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from("ab")), max_size=20), st.data())
def test_wanted_conversations_come_alone_by_age_and_the_others_stay(
    queued: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    queue, wanted = ReadyQueue(), data.draw(_WANTED)
    for number, (partition, at, tenant) in enumerate(queued):
        queue.add(timestamp_ms=at, partition=partition, term=1, conversation=f"c-{number}", tenant=tenant)
    found = []
    while (candidate := queue.pop(lambda _: 0, wanted)) is not None:
        found.append(candidate)
    assert {(each.partition, each.conversation) for each in found} <= wanted
    assert [each.timestamp_ms for each in found] == sorted(each.timestamp_ms for each in found)
    while (candidate := queue.pop(lambda _: 0)) is not None:
        assert (candidate.partition, candidate.conversation) not in wanted
        found.append(candidate)
    assert sorted(each.conversation for each in found) == sorted(f"c-{number}" for number in range(len(queued)))
