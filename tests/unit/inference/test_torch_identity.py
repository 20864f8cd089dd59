"""The promise that a faster engine is held to: greedy output is that of `generate`, one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.inference.levels import LevelName
from stream_worker.orders import Ended, Generated, Token
from stream_worker.tokens import Sampling
from tests.unit.inference.families import VOCABULARY
from tests.unit.inference.tiny import generate, reference, stepper


@dataclass(frozen=True)
class Request:
    ids: tuple[int, ...]
    max_new_tokens: int
    joins_at: int
    cancelled_at: int | None


COMMON = (3, 5, 7, 11, 13)

requests = st.lists(
    st.builds(
        Request,
        ids=st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=90).map(tuple),
        max_new_tokens=st.integers(1, 16),
        joins_at=st.integers(0, 20),
        cancelled_at=st.one_of(st.none(), st.none(), st.integers(0, 30)),
    ),
    min_size=1,
    max_size=6,
)


#: Families on their fastest level; and one with everything (caps, windows, norms) on the others.
RUNS = [
    *((family, "auto") for family in ("llama", "qwen2", "qwen3", "gemma3", "gpt2")),
    *(("gemma2", level) for level in ("portable", "plain")),
]


@pytest.mark.parametrize(("family", "level"), RUNS)
@settings(max_examples=3, deadline=None)
@given(requests=requests, blocks=st.sampled_from([3, 5, 12]), step_tokens=st.sampled_from([16, 128]))
def test_mixed_requests_with_joins_leaves_cancels_and_preemptions_are_identical_to_generate(
    family: str, level: LevelName, requests: list[Request], blocks: int, step_tokens: int
) -> None:
    """With three blocks of 64 tokens lanes are preempted all the time, and beginnings given back."""
    engine = stepper(family, level=level, max_batch=4, blocks=blocks, step_tokens=step_tokens)
    results: dict[str, list[object]] = {str(number): [] for number in range(len(requests))}
    step = 0
    while step < 40 or engine.seconds_until_ready() == 0:
        for number, request in enumerate(requests):
            order = generate(
                str(number),
                request.ids,
                Sampling(max_new_tokens=request.max_new_tokens),
                conversation=f"c-{number % 3}",
                common=min(len(request.ids), 5),
            )
            if request.joins_at == step:
                engine.add(order)
            if request.cancelled_at == step:
                engine.cancel(order.ref)
        for result in engine.step():
            results[result.ref.turn_id].append(result)
        assert engine.kv_tokens <= engine.kv_capacity_tokens
        step += 1
        assert step < 2_000, "requests wait for ever"
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


@pytest.mark.parametrize("level", ["auto", "portable", "plain"])
@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_a_prompt_of_several_chunks_is_identical_to_generate(family: str, level: LevelName) -> None:
    ids = tuple(range(2, 202))
    engine = stepper(family, level=level, step_tokens=16)
    engine.add(generate("long", ids, Sampling(max_new_tokens=20)))
    assert _run(engine.step) == reference(family, ids, 20)


def test_sixty_four_requests_are_identical_to_generate() -> None:
    """Sixteen conversations of four turns, each going on as soon as it has its reply, in a cache too small for them."""
    random = Random(5)
    engine = stepper("gemma3", max_batch=8, blocks=16, step_tokens=48)
    prompts: dict[str, tuple[int, ...]] = {f"c-{number}": COMMON for number in range(16)}
    answered: list[str] = []
    silent = list(prompts)
    while len(answered) < 64:
        for conversation in silent:
            turn = answered.count(conversation)
            prompts[conversation] += tuple(random.choices(range(2, VOCABULARY), k=random.randint(1, 30)))
            sampling = Sampling(max_new_tokens=random.randint(1, 12))
            name = f"{conversation}/{turn}"
            if turn < 4:
                engine.add(
                    generate(name, prompts[conversation], sampling, conversation=conversation, common=len(COMMON))
                )
        silent = []
        for result in engine.step():
            if isinstance(result, Generated):
                conversation = result.ref.turn_id.split("/")[0]
                assert result.ids == reference("gemma3", prompts[conversation], len(result.ids))
                prompts[conversation] += result.ids
                answered.append(conversation)
                silent.append(conversation)
    assert engine.evictions[0] > 0
    assert engine.seconds_until_ready() > 0


def test_a_lane_that_was_preempted_goes_on_where_it_was() -> None:
    engine = stepper("llama", max_batch=2, blocks=3)
    for name, length in (("old", 60), ("young", 60)):
        engine.add(generate(name, tuple(range(2, 2 + length)), Sampling(max_new_tokens=60)))
    preempted, done = False, {}
    while engine.seconds_until_ready() == 0:
        for result in engine.step():
            if isinstance(result, Generated):
                done[result.ref.turn_id] = result
        preempted |= engine.waiting == 1 and engine.running == 1
    assert preempted
    assert list(done) == ["old", "young"]
    expected = reference("llama", tuple(range(2, 62)), 60)
    assert {result.ids for result in done.values()} == {expected}


def test_a_seeded_reply_is_the_same_alone_and_in_a_full_batch() -> None:
    sampling = Sampling(max_new_tokens=20, temperature=1.0, top_p=0.9)
    prompts = {str(number): tuple(range(2 + number, 20 + 3 * number)) for number in range(8)}
    alone = {}
    for name, prompt in prompts.items():
        engine = stepper("qwen3", max_batch=1)
        engine.add(generate(name, prompt, sampling, seed=int(name)))
        alone[name] = _run(engine.step)
    engine = stepper("qwen3", max_batch=8)
    for name, prompt in prompts.items():
        engine.add(generate(name, prompt, sampling, seed=int(name)))
    together: dict[str, tuple[int, ...]] = {}
    while engine.seconds_until_ready() == 0:
        together |= {result.ref.turn_id: result.ids for result in engine.step() if isinstance(result, Generated)}
    assert together == alone
    assert len(set(together.values())) == len(together)


def _run(step: Callable[[], Sequence[object]]) -> tuple[int, ...]:
    while True:
        for result in step():
            if isinstance(result, Generated):
                return result.ids
