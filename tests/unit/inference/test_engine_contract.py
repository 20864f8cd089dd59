"""What every engine promises, whatever generates; all through the device thread."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream_worker.clock import SystemClock
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Cancel, Ended, Failed, Forget, Generate, Generated, Result, Token, TurnRef
from stream_worker.outcome import FinishReason
from stream_worker.tokens import ChatMessage, PromptIds, PromptMessages, Role, Sampling
from tests.unit.inference.tiny import stepper

DEADLINE_S = 60.0


class Rig:
    """An engine on its thread, and what it reported."""

    def __init__(self, make: Callable[[], Stepper], takes_ids: bool) -> None:
        self._arrived = threading.Condition()
        self._takes_ids = takes_ids
        self.results: list[Result] = []
        self.engine = DeviceThread(Models(stepper=make, encoder=lambda: None), self._put, SystemClock())
        self.engine.wait_ready(DEADLINE_S)

    def _put(self, result: Result) -> None:
        with self._arrived:
            self.results.append(result)
            self._arrived.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._arrived:
            assert self._arrived.wait_for(condition, DEADLINE_S)

    def of(self, name: str) -> list[Result]:
        return [result for result in self.results if result.ref == ref(name)]

    def ended(self, name: str) -> bool:
        return any(not isinstance(result, Token) for result in self.of(name))

    def order(self, name: str, sampling: Sampling, seed: int = 1) -> Generate:
        digits = tuple(2 + ord(letter) % 200 for letter in name)
        messages = (ChatMessage(Role.USER, name),)
        prompt = PromptIds(ids=digits) if self._takes_ids else PromptMessages(messages=messages)
        return Generate(
            ref=ref(name), conversation=name, prompt=prompt, sampling=sampling, seed=seed, cache_scope="tests"
        )

    def run(self, *orders: Generate) -> None:
        for order in orders:
            self.engine.submit(order)
        self.wait(lambda: all(self.ended(order.ref.turn_id) for order in orders))


def ref(name: str) -> TurnRef:
    return TurnRef(partition=0, term=1, turn_id=name, attempt=1)


ENGINES: dict[str, tuple[Callable[[], Stepper], bool]] = {
    "scripted": (lambda: ScriptedStepper(SystemClock(), seconds=lambda order: 0.001), False),
    "torch": (lambda: stepper("llama"), True),
}


@pytest.fixture(params=list(ENGINES))
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(*ENGINES[request.param])
    yield rig
    rig.engine.close(DEADLINE_S)


def test_each_request_gets_its_tokens_and_then_exactly_one_end(rig: Rig) -> None:
    rig.run(*(rig.order(f"turn {number}", Sampling(max_new_tokens=6)) for number in range(9)))
    for number in range(9):
        *tokens, last = rig.of(f"turn {number}")
        assert isinstance(last, Generated)
        assert "".join(token.text for token in tokens if isinstance(token, Token)) == last.text
        assert all(isinstance(token, Token) for token in tokens)
        assert last.usage.generated == len(last.ids) <= 6
        assert last.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
        assert 0 <= last.queued_seconds <= last.first_token_seconds <= last.seconds


def test_a_cancelled_request_ends_once_and_nothing_follows(rig: Rig) -> None:
    order = rig.order("long", Sampling(max_new_tokens=200))
    rig.engine.submit(order)
    rig.engine.submit(Cancel(ref=order.ref))
    rig.engine.submit(Cancel(ref=order.ref))
    rig.run(rig.order("after", Sampling(max_new_tokens=4)))
    assert [type(result) for result in rig.of("long") if not isinstance(result, Token)] in ([Ended], [Generated])
    assert not isinstance(rig.of("long")[-1], Token)


def test_a_cancel_or_forget_of_something_unknown_is_ignored(rig: Rig) -> None:
    rig.engine.submit(Cancel(ref=ref("nobody")))
    rig.engine.submit(Forget(conversation="nobody", at_once=True))
    rig.run(rig.order("after", Sampling(max_new_tokens=4)))
    assert rig.of("nobody") == []


def test_the_same_request_has_the_same_reply_alone_and_in_company(rig: Rig) -> None:
    sampling = Sampling(max_new_tokens=6, temperature=1.0)
    rig.run(rig.order("same", sampling))
    alone = rig.of("same")[-1]
    rig.results.clear()
    rig.run(*(rig.order(name, sampling, seed=len(name)) for name in ("other", "another")), rig.order("same", sampling))
    together = rig.of("same")[-1]
    assert isinstance(alone, Generated)
    assert isinstance(together, Generated)
    assert alone.ids == together.ids


def test_stats_are_read_from_any_thread_and_return_to_nothing(rig: Rig) -> None:
    rig.run(rig.order("one", Sampling(max_new_tokens=4)))
    with ThreadPoolExecutor(1) as pool:
        stats = pool.submit(rig.engine.stats).result()
    assert stats.steps > 0
    assert stats.kv_tokens <= stats.kv_capacity_tokens
    assert rig.engine.alive


def test_after_close_nothing_is_reported(rig: Rig) -> None:
    rig.engine.submit(rig.order("long", Sampling(max_new_tokens=200)))
    rig.engine.close(DEADLINE_S)
    seen = len(rig.results)
    rig.engine.submit(rig.order("late", Sampling(max_new_tokens=4)))
    assert not rig.engine.alive
    assert len(rig.results) == seen


def test_requests_that_can_never_run_fail_alone() -> None:
    rig = Rig(*ENGINES["torch"])
    good = rig.order("good", Sampling(max_new_tokens=4))
    prompts = {"foreign": (5, 100_000), "empty": (), "too long": (5,) * 256, "negative": (-1,)}
    bad = [
        Generate(
            ref=ref(name), conversation="c", prompt=PromptIds(ids=ids), sampling=Sampling(), seed=0, cache_scope=""
        )
        for name, ids in prompts.items()
    ]
    rig.run(good, *bad)
    assert all(isinstance(rig.of(name)[0], Failed) for name in prompts)
    assert isinstance(rig.of("good")[-1], Generated)
    rig.engine.close(DEADLINE_S)
