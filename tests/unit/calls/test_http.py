"""Calls over HTTP: to allowed hosts only, within their deadline, with a key that makes a repetition harmless."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from stream_worker.calls.http import HttpCaller, is_allowed
from stream_worker.calls.inline import InlineIo
from stream_worker.clock import ManualClock
from stream_worker.orders import Call, Called, CallFailed, TurnRef
from stream_worker.settings.calls import CallSettings

_REF = TurnRef(0, 1, "turn", 2)
_SETTINGS = CallSettings(
    allowed_hosts=("api.example.org",), headers={"api.example.org": {"authorization": "Bearer k"}}, max_bytes=2_048
)

Answers = Callable[[httpx2.Request], httpx2.Response]


class _Bench:
    """A caller whose hosts answer as a function says."""

    def __init__(self, answers: Answers) -> None:
        self.clock = ManualClock()
        self.io = InlineIo(self.clock)
        self.asked: list[httpx2.Request] = []
        self.results: list[Called | CallFailed] = []
        transport = httpx2.MockTransport(self._note(answers))
        self.caller = HttpCaller(_SETTINGS, self.io, self.results.append, self.clock, transport)

    def _note(self, answers: Answers) -> Answers:
        def answer(request: httpx2.Request) -> httpx2.Response:
            self.asked.append(request)
            return answers(request)

        return answer

    def run(self, seconds: float = 10.0) -> None:
        for _ in range(int(seconds / 0.05)):
            self.io.pump()
            self.clock.advance(0.05)


@pytest.fixture
def bench() -> Iterator[Callable[[Answers], _Bench]]:
    made: list[_Bench] = []

    def make(answers: Answers) -> _Bench:
        made.append(_Bench(answers))
        return made[-1]

    yield make
    for each in made:
        each.io.close()


def _order(url: str = "https://api.example.org/weather?lang=en", **changes: object) -> Call:
    fields: dict[str, object] = {
        "ref": _REF,
        "number": 1,
        "name": "weather",
        "url": url,
        "parameters": {"q": "北京 & co"},
        "headers": {"accept": "application/json"},
        "timeout_ms": 1_000,
        "retries": 2,
    }
    return Call(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_call_carries_its_parameters_headers_and_idempotency_key(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(200, json={"degrees": 21}))
    made.caller.submit(_order())
    made.run(0.2)
    (request,) = made.asked
    assert dict(request.url.params) == {"lang": "en", "q": "北京 & co"}
    assert request.headers["idempotency-key"] == "turn/1"
    assert request.headers["authorization"] == "Bearer k"
    (result,) = made.results
    assert isinstance(result, Called)
    assert result.result == {"degrees": 21}


def test_a_failure_that_may_pass_is_tried_again_and_then_reported(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(503))
    made.caller.submit(_order())
    made.run()
    assert len(made.asked) == 3
    assert {request.headers["idempotency-key"] for request in made.asked} == {"turn/1"}
    (result,) = made.results
    assert isinstance(result, CallFailed)
    assert result.message == "status 503"


def test_a_refusal_is_not_tried_again(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(404))
    made.caller.submit(_order())
    made.run()
    assert len(made.asked) == 1


def test_the_deadline_counts_for_all_attempts(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(503))
    made.caller.submit(_order(timeout_ms=250, retries=5))
    made.run()
    (result,) = made.results
    assert isinstance(result, CallFailed)
    assert result.message == "no answer within 250 ms"
    assert len(made.asked) == 2


@pytest.mark.parametrize(
    "url", ["https://evil.example.com/", "file:///etc/passwd", "https://api.example.org.evil.com/"]
)
def test_no_other_host_is_spoken_to(bench: Callable[[Answers], _Bench], url: str) -> None:
    made = bench(lambda _: httpx2.Response(200))
    made.caller.submit(_order(url))
    made.run(0.2)
    assert made.asked == []
    (result,) = made.results
    assert isinstance(result, CallFailed)
    assert "calls.allowed_hosts" in result.message


def test_a_redirect_is_not_followed(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(302, headers={"location": "https://evil.example.com/"}))
    made.caller.submit(_order())
    made.run(0.2)
    assert [request.url.host for request in made.asked] == ["api.example.org"]
    assert isinstance(made.results[0], CallFailed)


def test_an_answer_that_is_too_large_is_a_failure(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(200, content=b"x" * 4_096))
    made.caller.submit(_order())
    made.run(0.2)
    (result,) = made.results
    assert isinstance(result, CallFailed)
    assert "max_bytes" in result.message


def test_a_cancelled_call_reports_nothing(bench: Callable[[Answers], _Bench]) -> None:
    made = bench(lambda _: httpx2.Response(503))
    made.caller.submit(_order())
    made.run(0.1)
    made.caller.cancel(_REF, 1)
    made.run()
    assert made.results == []


def test_a_domain_allows_the_hosts_below_it_and_no_other() -> None:
    allowed = ("*.example.org",)
    assert is_allowed("a.example.org", allowed)
    assert not is_allowed("example.org", allowed)
    assert not is_allowed("badexample.org", allowed)


@pytest.mark.parametrize(
    "changes",
    [{"parameters": {"q": "天" * 8_000}}, {"headers": {"x-name": "é天"}}],
    ids=["a long parameter", "a header that is not ASCII"],
)
def test_a_request_that_cannot_be_made_fails_alone(
    bench: Callable[[Answers], _Bench], changes: dict[str, object]
) -> None:
    one = bench(lambda _: httpx2.Response(200, json={}))
    one.caller.submit(_order(**changes))  # type: ignore[arg-type]  # of several kinds
    one.run(1.0)
    assert [type(result) for result in one.results] == [CallFailed]


def test_an_answer_that_nobody_could_write_again_is_a_text(bench: Callable[[Answers], _Bench]) -> None:
    one = bench(lambda _: httpx2.Response(200, content=b"[" * 400 + b"]" * 400))
    one.caller.submit(_order())
    one.run(1.0)
    (result,) = one.results
    assert isinstance(result, Called)
    assert result.result == "[" * 400 + "]" * 400
