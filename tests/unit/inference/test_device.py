"""The device side: who goes next, what a failure does, and time moved by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.clock import ManualClock, SystemClock
from stream_worker.errors import Code, Missing
from stream_worker.inference.desk import Work, choose
from stream_worker.inference.device import DeviceThread, InlineDevice, Models
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Encode, Encoded, Failed, Fault, Generate, Generated, Result, Token, TurnRef
from stream_worker.tokens import ChatMessage, PromptMessages, Role, Sampling


def turn(name: str) -> TurnRef:
    return TurnRef(partition=0, term=1, turn_id=name, attempt=1)


def generate(name: str) -> Generate:
    prompt = PromptMessages(messages=(ChatMessage(Role.USER, name),))
    return Generate(ref=turn(name), conversation=name, prompt=prompt, sampling=Sampling(), seed=0, cache_scope="tests")


class Listing:
    """An encoder that finds nothing in any text."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        return [
            Encoded(ref=order.ref, intents=(), in_scope=False, scope=0.0, slots=(), batch_size=len(orders), seconds=0.0)
            for order in orders
        ]


class Broken:
    """An encoder that breaks."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        raise RuntimeError("the device is gone")


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=2, max_size=50))
def test_neither_texts_nor_steps_wait_for_more_than_one_turn_of_the_other(moments: list[tuple[int, bool]]) -> None:
    last = False
    passed_over = {Work.ENCODE: 0, Work.STEP: 0}
    for to_encode, step_ready in moments:
        choice = choose(to_encode=to_encode, step_ready=step_ready, encoded_last=last, max_texts=32)
        wanted = {Work.ENCODE: to_encode > 0, Work.STEP: step_ready}
        assert (choice.work is Work.NOTHING) == (not any(wanted.values()))
        assert choice.texts == (min(to_encode, 32) if choice.work is Work.ENCODE else 0)
        for work, wants in wanted.items():
            passed_over[work] = passed_over[work] + 1 if wants and choice.work is not work else 0
            assert passed_over[work] <= 1
        last = choice.work is Work.ENCODE


def test_a_failed_load_is_raised_to_whoever_waits() -> None:
    def stepper() -> Stepper:
        raise Missing(Code.MODEL_NOT_FOUND, "no model")

    device = DeviceThread(Models(stepper=stepper, encoder=lambda: None), lambda result: None, SystemClock())
    with pytest.raises(Missing):
        device.wait_ready(60)
    assert not device.alive
    device.close(60)


def test_what_breaks_the_thread_is_reported_for_all_that_is_in_hand() -> None:
    results: list[Result] = []
    slow = ScriptedStepper(SystemClock(), seconds=lambda order: 3_600)
    device = DeviceThread(Models(stepper=lambda: slow, encoder=Broken), results.append, SystemClock())
    device.wait_ready(60)
    device.submit(generate("in hand"))
    device.submit(Encode(ref=turn("breaks"), text="hi", heads="bot"))
    device._thread.join(60)
    assert not device.alive
    assert {(result.ref, result.fault) for result in results if isinstance(result, Failed)} == {
        (turn("in hand"), Fault.FATAL),
        (turn("breaks"), Fault.FATAL),
    }


def test_with_a_clock_moved_by_hand_tokens_come_when_they_are_due() -> None:
    clock = ManualClock()
    results: list[Result] = []
    models = Models(
        stepper=lambda: ScriptedStepper(clock, seconds=lambda order: 0.5, reply=lambda order: "one two three"),
        encoder=Listing,
        max_texts=2,
    )
    device = InlineDevice(models, results.append, clock)
    assert device.seconds_until_ready() == float("inf")
    device.submit(generate("words"))
    for number in range(3):
        device.submit(Encode(ref=turn(f"text {number}"), text="hi", heads="bot"))
    device.pump()
    assert [result.batch_size for result in results if isinstance(result, Encoded)] == [2, 2, 1]
    results.clear()
    while (wait := device.seconds_until_ready()) != float("inf"):
        clock.advance(wait)
        device.pump()
    assert [result.text for result in results if isinstance(result, Token)] == ["one", " two", " three"]
    last = results[-1]
    assert isinstance(last, Generated)
    assert (last.text, last.first_token_seconds, last.seconds) == ("one two three", 0.5, 1.5)
    assert device.stats().beat == 1.5
