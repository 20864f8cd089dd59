"""What a step runs, who gives blocks back, and how much of a prompt may run beside lanes that decode."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.pace import Pace
from stream_worker.inference.schedule import Lane, Plan, StepLimits, Waiting, admits, plan

lanes = st.lists(
    st.one_of(
        st.builds(Lane, pending=st.just(1), room=st.integers(0, 63), blocks=st.integers(0, 5)),
        st.builds(Lane, pending=st.integers(2, 500), room=st.integers(500, 600), blocks=st.integers(0, 9)),
    ),
    max_size=12,
)
limits = st.builds(StepLimits, tokens=st.integers(16, 200), chunk=st.integers(16, 200), rows=st.integers(1, 250))


@given(lanes, st.integers(0, 12), limits)
def test_a_plan_keeps_to_its_limits_and_to_the_blocks_that_are_free(
    running: list[Lane], free: int, given_limits: StepLimits
) -> None:
    chosen = plan(running, free, given_limits)
    assert len(chosen.tokens) == len(chosen.grows) == len(running)
    assert all(0 <= ran <= lane.pending for ran, lane in zip(chosen.tokens, running, strict=True))
    assert sum(chosen.tokens) <= given_limits.rows
    freed = sum(running[at].blocks for at in chosen.preempted)
    # The oldest is never preempted: alone it always fits, because `accept` has seen to it.
    assert sum(chosen.grows) <= free + freed or len(chosen.preempted) == len(running) - 1
    assert all(chosen.tokens[at] == 0 and not chosen.grows[at] for at in chosen.preempted)
    assert 0 not in chosen.preempted
    assert list(chosen.preempted) == sorted(chosen.preempted, reverse=True)
    assert all(
        lane.room > 0 or grows or not ran for lane, grows, ran in zip(running, chosen.grows, chosen.tokens, strict=True)
    )


@given(lanes, limits)
def test_every_decoding_lane_runs_and_so_does_the_oldest_prompt(running: list[Lane], given_limits: StepLimits) -> None:
    chosen = plan(running, 100, given_limits)
    decoding = [at for at, lane in enumerate(running) if lane.pending == 1]
    prompts = [at for at, lane in enumerate(running) if lane.pending > 1]
    assert all(chosen.tokens[at] == 1 for at in decoding[: given_limits.rows])
    if prompts and given_limits.rows >= len(decoding) + 16:
        assert chosen.tokens[prompts[0]] >= min(running[prompts[0]].pending, 16, given_limits.chunk)
    if decoding:
        assert all(chosen.tokens[at] <= given_limits.chunk for at in prompts)


def test_several_prompts_run_at_once_and_share_what_the_decoding_lanes_leave() -> None:
    running = [Lane(pending=1, room=9, blocks=1), *(Lane(pending=60, room=60, blocks=1) for _ in range(4))]
    limits_ = StepLimits(tokens=128, chunk=48, rows=200)
    assert plan(running, 0, limits_) == Plan((1, 48, 48, 31, 0), (False,) * 5, ())


def test_the_youngest_lane_gives_its_blocks_to_the_older_ones() -> None:
    full = Lane(pending=1, room=0, blocks=2)
    assert plan([full, full, full], 1, StepLimits(tokens=64, chunk=64, rows=64)) == Plan(
        (1, 1, 0), (True, True, False), (2,)
    )


def test_a_request_is_admitted_when_its_tokens_could_run_next_and_its_blocks_can_be_had() -> None:
    limits_ = StepLimits(tokens=64, chunk=64, rows=64)
    fits = Waiting(tokens=50, blocks=2, waits_for_common=False)

    def admitted(waiting: Waiting, lanes_: int = 1, pending: int = 0, available: int = 2) -> bool:
        return admits(waiting, lanes=lanes_, max_lanes=4, pending=pending, available=available, limits=limits_)

    assert admitted(fits)
    assert not admitted(fits, lanes_=4)
    assert not admitted(fits, pending=64)
    assert not admitted(fits, available=1)
    assert not admitted(Waiting(tokens=50, blocks=2, waits_for_common=True))
    assert admitted(fits, lanes_=0, available=0)


@given(decode_ms=st.floats(1, 50), token_ms=st.floats(0.01, 5))
def test_a_chunk_beside_decoding_lanes_costs_little_more_than_they_do(decode_ms: float, token_ms: float) -> None:
    pace = Pace(128)
    assert pace.chunk == 128
    for _ in range(60):
        pace.learn(decoding=4, prompt_tokens=0, seconds=decode_ms)
        pace.learn(decoding=4, prompt_tokens=pace.chunk, seconds=decode_ms + token_ms * pace.chunk)
    assert 16 <= pace.chunk <= 128
    assert pace.chunk % 16 == 0
    assert pace.chunk == 16 or decode_ms + token_ms * pace.chunk <= 3 * decode_ms
    assert pace.chunk == 128 or decode_ms + token_ms * (pace.chunk + 32) >= 2 * decode_ms
