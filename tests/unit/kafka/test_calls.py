"""A client's call that never returns costs the clients, not the process."""

import time
from threading import Event
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_worker.errors import ClientsBroken
from stream_worker.kafka.calls import answered, started
from stream_worker.kafka.protocols import Batch, Membership
from stream_worker.kafka.transactions import KafkaTransactions


class _LooksForItsCoordinator:
    """A producer whose offsets are on their way for ever; everything else is done at once."""

    def __init__(self) -> None:
        self.released = Event()

    def send_offsets_to_transaction(self, *_: object) -> None:
        self.released.wait()

    def flush(self, timeout: float) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_offsets_that_are_never_answered_cost_the_clients() -> None:
    beats: list[float] = []
    transactions = KafkaTransactions(
        {"transactional.id": "t", "bootstrap.servers": "127.0.0.1:1", "log_level": 0},
        input_topic="events",
        call_timeout_s=0.01,
        give_up_s=0.1,
        beat=lambda: beats.append(time.monotonic()),
    )
    stuck = _LooksForItsCoordinator()
    vars(transactions)["_producer"] = stuck
    try:
        with pytest.raises(ClientsBroken, match="did not answer a transaction"):
            transactions.commit(Batch(records=[], offsets={0: 1}, membership=Membership(object()), ledgers={}))
    finally:
        stuck.released.set()
    assert beats, "whoever watches the worker would take it for dead meanwhile"


def test_an_error_of_a_call_is_its_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        answered(started(lambda: 1 // 0), 1.0)


def test_a_timeout_that_the_client_does_not_keep_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_worker.kafka.calls._GRACE_S", 0.0)
    never = Event()
    with pytest.raises(KafkaException) as error:
        answered(started(never.wait), 0.01)
    never.set()
    assert error.value.args[0].code() == KafkaError._TIMED_OUT
