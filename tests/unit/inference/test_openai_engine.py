"""The engine over a model server: what is sent, and whose fault each trouble is. A real socket, a real loop."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import SystemClock
from stream_worker.inference.openai_engine import OpenAiSource
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.orders import Cancel, Ended, Failed, Fault, Generate, Generated, Result, Token, TurnRef
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.settings.engine import OpenAiSettings
from stream_worker.tokens import ChatMessage, PromptMessages, Role, Sampling
from tests.eventually import eventually
from tests.unit.inference.model_server import ModelServer, Status, Trouble, reply_words

_QUICK = {"retry_backoff_ms": 1, "first_token_timeout_ms": 500, "between_tokens_timeout_ms": 300}
KEY = "sk-hidden"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def io() -> Iterator[IoThread]:
    io = IoThread(SystemClock())
    yield io
    io.check()
    io.close(20)


class Asked:
    """An engine over the server, and what it reported."""

    def __init__(self, io: IoThread, base_url: str, **settings: Any) -> None:
        self.results: list[Result] = []
        configured = OpenAiSettings(**{"base_url": base_url, "api_key": KEY, **_QUICK, **settings})
        source = OpenAiSource(configured, model="tiny", max_context_tokens=512)
        self.engine = StreamingEngine(source, io, self.results.append, SystemClock(), configured.max_concurrent)

    def ends(self, *orders: Generate) -> list[Result]:
        """How each ended, in the order asked."""
        for order in orders:
            self.engine.submit(order)
        return [eventually(lambda ref=order.ref: self.end_of(ref)) for order in orders]  # type: ignore[misc]

    def end_of(self, ref: TurnRef) -> Result | None:
        return next((each for each in self.results if each.ref == ref and not isinstance(each, Token)), None)

    def text_of(self, ref: TurnRef) -> str:
        return "".join(each.text for each in self.results if each.ref == ref and isinstance(each, Token))


def order(name: str = "t", sampling: Sampling | None = None, conversation: str = "acme/日本 c-1") -> Generate:
    return Generate(
        ref=TurnRef(0, 1, name, 1),
        conversation=conversation,
        prompt=PromptMessages(messages=(ChatMessage(Role.SYSTEM, "Be brief."), ChatMessage(Role.USER, f"Hi {name}"))),
        sampling=sampling or Sampling(max_new_tokens=5),
        seed=7,
        cache_scope="acme/bot/1",
    )


def test_a_reply_comes_in_pieces_with_usage_and_reason(io: IoThread, server: ModelServer) -> None:
    asked = Asked(io, server.base_url)
    (end,) = asked.ends(order())
    assert isinstance(end, Generated)
    headers, body = server.seen[0]
    assert end.text == asked.text_of(end.ref) == "".join(reply_words(body)[:5])
    assert (end.finish_reason, end.usage.prompt, end.usage.cached, end.usage.generated) == (
        FinishReason.LENGTH,
        4,
        1,
        5,
    )
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == ("tiny", 7, 0, 5)
    assert not {"top_k", "min_p", "repetition_penalty", "logit_bias", "cache_salt"} & body.keys()


def test_a_conversation_has_one_name_for_the_router_that_tells_nothing(io: IoThread, server: ModelServer) -> None:
    asked = Asked(io, server.base_url)
    asked.ends(order("1"), order("2"), order("3", conversation="acme/c-2"), replace(order("4"), cache_scope="other"))
    names = {body["messages"][1]["content"]: headers["x-session-id"] for headers, body in server.seen}
    assert names["Hi 1"] == names["Hi 2"]
    assert len(set(names.values())) == 3
    assert all(body["prompt_cache_key"] == headers["x-session-id"] for headers, body in server.seen)


def test_what_is_asked_for_is_sent_and_what_is_to_be_omitted_is_not(io: IoThread, server: ModelServer) -> None:
    sampling = Sampling(
        max_new_tokens=3, temperature=0.5, top_k=4, top_p=0.9, min_p=0.1, repetition_penalty=1.1, stop=("END",),
        logit_bias=((3, 2.0),), log_probabilities=True, json_schema='{"type": "object"}',
    )  # fmt: skip
    asked = Asked(
        io, server.base_url, omit=("seed", "stream_options"), salted_cache=True, extra_body={"user": "stream-worker"}
    )
    asked.ends(order("1", sampling))
    body = server.seen[0][1]
    assert not {"seed", "stream_options"} & body.keys()
    assert (body["top_k"], body["min_p"], body["logit_bias"], body["user"]) == (4, 0.1, {"3": 2.0}, "stream-worker")
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert len(body["cache_salt"]) == 32


@pytest.mark.parametrize("trouble", [Status(429), Status(503), Status(500, retry_after="0"), Trouble.REFUSE])
def test_a_request_that_was_not_taken_is_sent_again_and_answered_once(
    io: IoThread, server: ModelServer, trouble: Status | Trouble
) -> None:
    server.faults = [trouble, trouble]
    asked = Asked(io, server.base_url)
    (end,) = asked.ends(order())
    assert isinstance(end, Generated)
    assert asked.text_of(end.ref) == end.text
    assert len(server.seen) == 3


@pytest.mark.parametrize("trouble", [Trouble.CUT, Trouble.STALL, Trouble.NOT_JSON, Trouble.ERROR_EVENT])
def test_a_reply_that_has_begun_is_never_asked_for_again(io: IoThread, server: ModelServer, trouble: Trouble) -> None:
    server.faults = [trouble]
    asked = Asked(io, server.base_url)
    (end,) = asked.ends(order())
    assert isinstance(end, Failed)
    assert end.fault is Fault.ENGINE
    assert len(server.seen) == 1


def test_a_stream_without_an_end_is_no_reply(io: IoThread, server: ModelServer) -> None:
    server.faults = [Trouble.NO_END]
    (end,) = Asked(io, server.base_url).ends(order())
    assert isinstance(end, Failed)
    assert end.fault is Fault.ENGINE


@pytest.mark.parametrize(
    ("trouble", "fault", "reason"),
    [
        (Status(429), Fault.ENGINE, DeadLetterReason.ATTEMPTS_EXHAUSTED),
        (Trouble.SILENT, Fault.ENGINE, DeadLetterReason.ATTEMPTS_EXHAUSTED),
        (Status(401), Fault.CONFIGURATION, DeadLetterReason.ATTEMPTS_EXHAUSTED),
        (Status(403), Fault.CONFIGURATION, DeadLetterReason.ATTEMPTS_EXHAUSTED),
        (Status(404), Fault.CONFIGURATION, DeadLetterReason.ATTEMPTS_EXHAUSTED),
        (Status(400, "bad_request"), Fault.EVENT, DeadLetterReason.REFUSED_BY_ENGINE),
        (Status(400, "context_length_exceeded"), Fault.EVENT, DeadLetterReason.PROMPT_TOO_LONG),
    ],
)
def test_each_trouble_is_somebodys_fault_and_tells_no_text_and_no_key(
    io: IoThread, server: ModelServer, trouble: Status | Trouble, fault: Fault, reason: DeadLetterReason
) -> None:
    server.faults = [trouble] * 4
    (end,) = Asked(io, server.base_url, max_retries=1).ends(order())
    assert isinstance(end, Failed)
    assert (end.fault, end.reason) == (fault, reason)
    assert "SECRET" not in end.message
    assert KEY not in end.message


def test_a_server_that_is_not_there_is_away(io: IoThread) -> None:
    (end,) = Asked(io, "http://127.0.0.1:9/v1").ends(order())
    assert isinstance(end, Failed)
    assert end.fault is Fault.ENGINE


def test_a_cancel_closes_the_stream_at_the_server(io: IoThread, server: ModelServer) -> None:
    server.seconds_per_word = 0.05
    asked = Asked(io, server.base_url)
    long = order("long", Sampling(max_new_tokens=60))
    asked.engine.submit(long)
    eventually(lambda: asked.text_of(long.ref))
    asked.engine.submit(Cancel(ref=long.ref))
    assert isinstance(eventually(lambda: asked.end_of(long.ref)), Ended)
    eventually(lambda: server.closed_by_client == 1 and server.running == 0)


def test_no_more_streams_run_than_allowed(io: IoThread, server: ModelServer) -> None:
    server.seconds_per_word = 0.002
    asked = Asked(io, server.base_url, max_concurrent=3)
    ends = asked.ends(*(order(str(number)) for number in range(12)))
    assert all(isinstance(end, Generated) for end in ends)
    assert server.most_running == 3


def test_a_reply_in_json_that_was_cut_is_none(io: IoThread, server: ModelServer) -> None:
    (end,) = Asked(io, server.base_url).ends(order("1", Sampling(max_new_tokens=2, json_schema="{}")))
    assert isinstance(end, Failed)
    assert (end.fault, end.reason) == (Fault.EVENT, DeadLetterReason.SCHEMA_NOT_MET)


def test_log_probabilities_are_the_servers(io: IoThread, server: ModelServer) -> None:
    (end,) = Asked(io, server.base_url).ends(order("1", Sampling(max_new_tokens=3, log_probabilities=True)))
    assert isinstance(end, Generated)
    assert end.log_probabilities == (-0.5,) * 3


def test_the_key_is_shown_nowhere() -> None:
    settings = OpenAiSettings(api_key=SecretStr(KEY))
    assert KEY not in repr(settings)
    assert KEY not in orjson.dumps(settings.model_dump(mode="json")).decode()
