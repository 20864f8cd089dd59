"""What every engine promises, whatever generates. Suites inherit it, and say what makes their engine."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from stream_worker.inference.engine import Engine, Feature, Report, Takes
from stream_worker.orders import Cancel, Ended, Forget, Generate, Generated, Result, Token, TurnRef
from stream_worker.outcome import FinishReason
from stream_worker.tokens import ChatMessage, PromptIds, PromptMessages, Role, Sampling

DEADLINE_S = 600.0
"""The first log-probabilities make vLLM compile: minutes where others use the machine, too."""


class Closable(Protocol):
    """An engine and what it stands on."""

    @property
    def engine(self) -> Engine: ...

    def close(self) -> None: ...


class Rig:
    """An engine on its thread, and what it reported."""

    def __init__(self, make: Callable[[Report], Closable]) -> None:
        self._arrived = threading.Condition()
        self.results: list[Result] = []
        self.made = make(self._put)
        self.engine = self.made.engine
        self._takes_ids = self.engine.capabilities.takes is Takes.IDS

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


class EngineContract:
    """One test a promise. A suite gives the fixture `rig`."""

    @pytest.fixture
    def rig(self) -> Rig:
        raise NotImplementedError

    def test_each_request_gets_its_tokens_and_then_exactly_one_end(self, rig: Rig) -> None:
        rig.run(*(rig.order(f"turn {number}", Sampling(max_new_tokens=6)) for number in range(9)))
        for number in range(9):
            *tokens, last = rig.of(f"turn {number}")
            assert isinstance(last, Generated)
            assert "".join(token.text for token in tokens if isinstance(token, Token)) == last.text
            assert all(isinstance(token, Token) for token in tokens)
            assert 0 < last.usage.generated <= 6
            assert len(last.ids) in (0, last.usage.generated)
            assert last.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
            assert 0 <= last.queued_seconds <= last.first_token_seconds <= last.seconds

    def test_a_cancelled_request_ends_once_and_nothing_follows(self, rig: Rig) -> None:
        order = rig.order("long", Sampling(max_new_tokens=200))
        rig.engine.submit(order)
        rig.engine.submit(Cancel(ref=order.ref))
        rig.engine.submit(Cancel(ref=order.ref))
        rig.run(rig.order("after", Sampling(max_new_tokens=4)))
        assert [type(result) for result in rig.of("long") if not isinstance(result, Token)] in ([Ended], [Generated])
        assert not isinstance(rig.of("long")[-1], Token)

    def test_a_cancel_or_forget_of_something_unknown_is_ignored(self, rig: Rig) -> None:
        rig.engine.submit(Cancel(ref=ref("nobody")))
        rig.engine.submit(Forget(conversation="nobody"))
        rig.run(rig.order("after", Sampling(max_new_tokens=4)))
        assert rig.of("nobody") == []

    def test_the_same_request_has_the_same_reply_alone_and_in_company(self, rig: Rig) -> None:
        sampling = Sampling(max_new_tokens=6, temperature=1.0)
        rig.run(rig.order("same", sampling))
        alone = rig.of("same")[-1]
        rig.results.clear()
        rig.run(
            *(rig.order(name, sampling, seed=len(name)) for name in ("other", "another")), rig.order("same", sampling)
        )
        together = rig.of("same")[-1]
        assert isinstance(alone, Generated)
        assert isinstance(together, Generated)
        assert (alone.ids, alone.text) == (together.ids, together.text)

    def test_stats_are_read_from_any_thread_and_return_to_nothing(self, rig: Rig) -> None:
        rig.run(rig.order("one", Sampling(max_new_tokens=4)))
        with ThreadPoolExecutor(1) as pool:
            stats = pool.submit(rig.engine.stats).result()
        assert stats.steps > 0
        assert stats.kv_tokens <= stats.kv_capacity_tokens

    def test_log_probabilities_come_with_every_id_where_the_engine_knows_them(self, rig: Rig) -> None:
        if Feature.LOG_PROBABILITIES not in rig.engine.capabilities.features:
            return
        rig.run(rig.order("scored", Sampling(max_new_tokens=6, log_probabilities=True)))
        last = rig.of("scored")[-1]
        assert isinstance(last, Generated)
        assert len(last.log_probabilities) == last.usage.generated
        assert all(each <= 0 for each in last.log_probabilities)

    def test_more_requests_than_fit_at_once_wait_and_all_end(self, rig: Rig) -> None:
        rig.run(*(rig.order(f"many {number}", Sampling(max_new_tokens=3)) for number in range(40)))
        assert all(isinstance(rig.of(f"many {number}")[-1], Generated) for number in range(40))

    def test_after_close_nothing_is_reported(self, rig: Rig) -> None:
        rig.engine.submit(rig.order("long", Sampling(max_new_tokens=200)))
        rig.made.close()
        seen = len(rig.results)
        rig.engine.submit(rig.order("late", Sampling(max_new_tokens=4)))
        assert len(rig.results) == seen
        assert not rig.ended("late")
