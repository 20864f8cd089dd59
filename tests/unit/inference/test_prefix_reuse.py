"""A prompt that begins as something that is kept is computed from there on, with the same result."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.inference.beginnings import Host
from stream_worker.inference.torch_engine import TorchStepper
from stream_worker.inference.torch_runner import PortableRunner
from stream_worker.orders import Ended, Expire, Forget, Generate, Generated, Release, TurnRef
from stream_worker.tokens import PromptIds, Sampling
from tests.unit.inference.families import VOCABULARY
from tests.unit.inference.tiny import END, chosen, generate, reference, stepper

ids = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=12).map(tuple)
COMMON = (3, 5, 7, 11, 13)


def order(
    conversation: str,
    prompt: tuple[int, ...],
    turn: int = 0,
    *,
    scope: str = "bot",
    common: int = 0,
    most: int = 6,
    partition: int = 0,
) -> Generate:
    made = generate(f"{conversation}/{turn}", prompt, Sampling(max_new_tokens=most))
    return replace(
        made,
        ref=TurnRef(partition, 1, made.ref.turn_id, 1),
        conversation=conversation,
        cache_scope=scope,
        prompt=PromptIds(ids=prompt, common=common),
    )


def finish(engine: TorchStepper) -> dict[str, Generated]:
    done: dict[str, Generated] = {}
    while engine.seconds_until_ready() == 0:
        for result in engine.step():
            if isinstance(result, Generated):
                done[result.ref.turn_id] = result
    return done


def answer(engine: TorchStepper, asked: Generate) -> Generated:
    engine.add(asked)
    return finish(engine)[asked.ref.turn_id]


def spoken(generated: Generated) -> tuple[int, ...]:
    """The reply's ids as the next prompt holds them: without the token that ended it."""
    return generated.ids[:-1] if generated.ids[-1] in END else generated.ids


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@settings(max_examples=5, deadline=None)
@given(messages=st.lists(st.lists(ids, min_size=2, max_size=3), min_size=2, max_size=4), room=st.sampled_from([4, 60]))
def test_conversations_over_several_turns_are_identical_to_generate(
    family: str, messages: list[list[tuple[int, ...]]], room: int
) -> None:
    """`messages[turn][conversation]`; with little room beginnings are given back, and computed again."""
    engine = stepper(family, max_batch=3, blocks=room)
    prompts: dict[int, tuple[int, ...]] = {}
    for turn, said in enumerate(messages):
        for number, text in enumerate(said):
            prompts[number] = (*prompts.get(number, COMMON), *text)
            engine.add(order(f"c-{number}", prompts[number], turn, common=len(COMMON)))
        for turn_id, generated in finish(engine).items():
            number = int(turn_id.split("/")[0].removeprefix("c-"))
            assert generated.ids == reference(family, prompts[number], 6)
            assert generated.usage.cached < len(prompts[number])
            prompts[number] += spoken(generated)
        assert engine.kept_tokens <= engine.kv_capacity_tokens


def test_the_next_turn_computes_only_what_is_new() -> None:
    engine = stepper()
    first = answer(engine, order("c-1", COMMON))
    assert first.usage.cached == 0
    prompt = (*COMMON, *spoken(first), 9, 8)
    second = answer(engine, order("c-1", prompt, 1))
    # The last id that was sampled was never run, and is computed with what is new.
    assert second.usage.cached == len(COMMON) + len(first.ids) - 1


def test_a_prompt_that_differs_is_used_as_far_as_it_is_the_same() -> None:
    engine = stepper()
    answer(engine, order("c-1", (*COMMON, 20, 21, 22)))
    changed = (*COMMON, 20, 99, 22)
    again = answer(engine, order("c-1", changed, 1))
    assert again.usage.cached == len(COMMON) + 1
    assert again.ids == reference("llama", changed, 6)


def test_what_all_conversations_of_a_bot_begin_with_is_computed_once() -> None:
    engine = stepper()
    answer(engine, order("c-1", (*COMMON, 20), common=len(COMMON)))
    other = answer(engine, order("c-2", (*COMMON, 30), common=len(COMMON)))
    assert other.usage.cached == len(COMMON)


def test_nothing_is_shared_between_scopes() -> None:
    """Not even for the same ids, nor for a conversation of the same name: a tenant could tell by the time it takes."""
    engine = stepper()
    answer(engine, order("c-1", (*COMMON, 20), scope="one", common=len(COMMON)))
    assert answer(engine, order("c-1", (*COMMON, 20), 1, scope="two", common=len(COMMON))).usage.cached == 0


def test_a_conversation_that_is_forgotten_leaves_nothing() -> None:
    engine = stepper()
    answer(engine, order("c-1", COMMON))
    engine.forget(Forget(conversation="c-1"))
    assert engine.kept_tokens == 0
    assert answer(engine, order("c-1", COMMON, 1)).usage.cached == 0


def test_a_request_that_runs_when_its_conversation_is_forgotten_leaves_nothing() -> None:
    engine = stepper()
    engine.add(order("c-1", COMMON))
    engine.step()
    engine.forget(Forget(conversation="c-1"))
    finish(engine)
    assert engine.kept_tokens == 0


def _with_a_cancelled_request() -> TorchStepper:
    """It was cancelled in the middle of its reply."""
    engine = stepper()
    asked = order("c-1", COMMON, most=50)
    engine.add(asked)
    for _ in range(4):
        engine.step()
    engine.cancel(asked.ref)
    return engine


def test_a_cancelled_request_leaves_its_prompt_and_nothing_of_its_reply() -> None:
    """An interrupt goes on from the end of the last user message."""
    engine = _with_a_cancelled_request()
    assert [type(result) for result in engine.step()] == [Ended]
    assert engine.kept_tokens == len(COMMON)
    again = answer(engine, order("c-1", (*COMMON, 9, 8), 1))
    assert again.usage.cached == len(COMMON)
    assert again.ids == reference("llama", (*COMMON, 9, 8), 6)


def test_the_conversation_that_was_silent_longest_gives_its_memory_back_first() -> None:
    engine = stepper(max_batch=1, blocks=4)
    for name in ("c-1", "c-2", "c-3", "c-4", "c-5"):
        answer(engine, order(name, tuple(range(2, 22)), most=4))
    assert engine.kept_tokens <= engine.kv_capacity_tokens
    assert engine.evictions[0] > 0
    assert answer(engine, order("c-5", tuple(range(2, 24)), 1, most=4)).usage.cached > 0
    assert answer(engine, order("c-1", tuple(range(2, 24)), 1, most=4)).usage.cached == 0


def test_a_released_conversation_gives_its_memory_back_before_all_others() -> None:
    engine = stepper(max_batch=1, blocks=4)
    for name in ("c-1", "c-2", "c-3"):
        answer(engine, order(name, tuple(range(2, 22)), most=4, partition=int(name == "c-3")))
    engine.forget(Release(partition=1))
    assert answer(engine, order("c-4", tuple(range(2, 22)), most=4)).usage.cached == 0
    assert answer(engine, order("c-1", tuple(range(2, 24)), 1, most=4)).usage.cached > 0
    assert answer(engine, order("c-3", tuple(range(2, 24)), 1, most=4)).usage.cached == 0


def test_a_released_conversation_that_comes_back_is_served_as_far_as_its_ids_are_the_same() -> None:
    engine = stepper()
    answer(engine, order("c-1", (*COMMON, 20, 21)))
    engine.forget(Release(partition=0))
    assert answer(engine, order("c-1", (*COMMON, 20, 99), 1)).usage.cached == len(COMMON) + 1


def test_what_was_released_and_not_used_again_expires() -> None:
    engine = stepper()
    for name, partition in (("c-1", 0), ("c-2", 0), ("c-3", 1)):
        answer(engine, order(name, (*COMMON, 20, 21), partition=partition))
    engine.forget(Expire(partition=0))
    assert answer(engine, order("c-2", (*COMMON, 20, 21), 1)).usage.cached > 0, "nothing was released yet"
    engine.forget(Release(partition=0))
    answer(engine, order("c-2", (*COMMON, 20, 21), 2))
    engine.forget(Expire(partition=0))
    cached = {name: answer(engine, order(name, (*COMMON, 20, 99), 3)).usage.cached for name in ("c-1", "c-2", "c-3")}
    assert cached == {"c-1": 0, "c-2": len(COMMON) + 1, "c-3": len(COMMON) + 1}


def test_a_request_that_is_cancelled_as_its_partition_goes_is_released_with_it() -> None:
    engine = _with_a_cancelled_request()
    engine.forget(Release(partition=0))
    engine.forget(Expire(partition=0))
    finish(engine)
    assert engine.kept_tokens == 0


def test_a_burst_shares_what_its_prompts_begin_with() -> None:
    """All but the first are admitted late, when the first has computed it."""
    engine = stepper(max_batch=8)
    for number in range(8):
        engine.add(order(f"c-{number}", (*COMMON, 20 + number), common=len(COMMON)))
    cached = sorted(generated.usage.cached for generated in finish(engine).values())
    assert cached == [0] + [len(COMMON)] * 7


def test_what_was_sampled_is_told_from_what_was_said() -> None:
    engine = stepper()
    first = answer(engine, order("c-1", COMMON))
    second = answer(engine, order("c-1", (*COMMON, *spoken(first), 9, 8), 1))
    assert second.usage.cached_replied == len(first.ids) - 1
    assert second.usage.cached == len(COMMON) + second.usage.cached_replied


def test_a_conversation_goes_to_the_host_and_comes_back_as_it_was() -> None:
    ready = chosen("llama", "portable", blocks=4)
    assert isinstance(ready.runner, PortableRunner)
    tier = ready.runner.store
    engine = stepper(max_batch=1, runs=replace(ready, host=Host(tier, blocks=2)))
    for name in ("c-1", "c-2", "c-3", "c-4", "c-5", "c-6"):
        answer(engine, order(name, tuple(range(2, 22)), most=4))
    # Four blocks here, of which the last turn took two; two away; what went there first is dropped.
    device, host = engine.evictions
    assert device > host > 0
    back = answer(engine, order("c-4", tuple(range(2, 42)), 1, most=4))
    assert back.usage.cached > 0
    assert back.ids == reference("llama", tuple(range(2, 42)), 4)
    engine.forget(Forget(conversation="c-3"))
    assert answer(engine, order("c-3", tuple(range(2, 42)), 1, most=4)).usage.cached == 0
