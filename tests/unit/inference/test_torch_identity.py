"""The promise that a faster engine is held to: greedy output is that of `generate`, one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.orders import Ended, Generated, Token
from stream_worker.tokens import Sampling
from tests.unit.inference.tiny import FAMILIES, VOCABULARY, generate, reference, stepper


@dataclass(frozen=True)
class Request:
    ids: tuple[int, ...]
    max_new_tokens: int
    joins_at: int
    cancelled_at: int | None


requests = st.lists(
    st.builds(
        Request,
        ids=st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=40).map(tuple),
        max_new_tokens=st.integers(1, 24),
        joins_at=st.integers(0, 20),
        cancelled_at=st.one_of(st.none(), st.none(), st.integers(0, 30)),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(requests=requests)
def test_mixed_requests_with_joins_leaves_and_cancels_are_identical_to_generate(
    family: str, requests: list[Request]
) -> None:
    # Room for three of the longest: lanes are shared, reused and laid out anew.
    engine = stepper(family, max_batch=4, kv_cache_bytes=_bytes_for(family, tokens=3 * 64))
    results: dict[str, list[object]] = {str(number): [] for number in range(len(requests))}
    step = 0
    while step < 40 or engine.seconds_until_ready() == 0:
        for number, request in enumerate(requests):
            order = generate(str(number), request.ids, Sampling(max_new_tokens=request.max_new_tokens))
            if request.joins_at == step:
                engine.add(order)
            if request.cancelled_at == step:
                engine.cancel(order.ref)
        for result in engine.step():
            results[result.ref.turn_id].append(result)
        assert engine.kv_tokens <= engine.kv_capacity_tokens + 40
        step += 1
    assert engine.kv_tokens == 0
    for number, request in enumerate(requests):
        *tokens, last = results[str(number)]
        assert all(isinstance(token, Token) for token in tokens)
        if isinstance(last, Generated):
            assert last.ids == reference(family, request.ids, request.max_new_tokens)
            assert last.text == "".join(token.text for token in tokens if isinstance(token, Token))
        else:
            assert isinstance(last, Ended)
            assert request.cancelled_at is not None


def _bytes_for(family: str, tokens: int) -> int:
    probe = stepper(family, kv_cache_bytes=1 << 20)
    return tokens * ((1 << 20) // probe.kv_capacity_tokens)


def test_a_prompt_of_several_chunks_is_identical_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_worker.inference.torch_engine._PREFILL_CHUNK", 16)
    ids = tuple(range(2, 102))
    engine = stepper("gemma2")
    engine.add(generate("long", ids, Sampling(max_new_tokens=20)))
    assert _run(engine.step) == reference("gemma2", ids, 20)


def _run(step: Callable[[], Sequence[object]]) -> tuple[int, ...]:
    while True:
        for result in step():
            if isinstance(result, Generated):
                return result.ids
