"""The seconds of work that wait, next to a queue that is simply worked off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.admission.backlog import Backlog


@given(
    slots=st.integers(1, 64),
    seconds=st.floats(0.01, 60.0),
    events_per_turn=st.integers(1, 5),
    waiting=st.integers(0, 10_000),
)
def test_at_full_load_it_is_the_time_that_the_queue_takes(
    slots: int, seconds: float, events_per_turn: int, waiting: int
) -> None:
    backlog = Backlog(slots)
    for _ in range(3_000):
        backlog.ran(seconds)
        backlog.settled(events_per_turn)
    turns_left = waiting / events_per_turn
    assert backlog.seconds(waiting) == pytest.approx(turns_left / slots * seconds, rel=0.02)


def test_what_costs_no_turn_costs_no_time() -> None:
    backlog = Backlog(1)
    backlog.settled(100)
    assert backlog.seconds(1_000) == 0.0


def test_a_model_that_became_slower_shows_after_a_thousand_events() -> None:
    backlog = Backlog(1)
    for seconds in (1.0, 5.0):
        for _ in range(10_000):
            backlog.ran(seconds)
            backlog.settled(1)
    assert backlog.seconds(10) == pytest.approx(50.0, rel=0.05)
