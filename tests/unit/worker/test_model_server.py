"""A worker whose replies come from a model server: what its absence costs, in a time that is moved by hand."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import httpx2
import orjson

from stream_worker.async_runner import AsyncRunner
from stream_worker.clock import ManualClock
from stream_worker.inference.engine import Engine, Report
from stream_worker.inference.openai_engine import OpenAiSource
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.settings.engine import OpenAiSettings
from tests.unit.worker.rig import Rig, settings


@dataclass
class Server:
    """What the server does for now: answers, or refuses to be reached, or answers with a status."""

    status: int | None = 200
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        text = orjson.loads(request.content)["messages"][-1]["content"]
        self.asked[text] += 1
        if self.status is None:
            raise httpx2.ConnectError("nobody listens", request=request)
        if self.status != 200:
            return httpx2.Response(self.status)
        chunks = [
            {"choices": [{"delta": {"content": "Hello"}}]},
            {"choices": [{"delta": {"content": " there."}, "finish_reason": "stop"}]},
        ]
        stream = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)


def rig_over(server: Server, **admission: object) -> Rig:
    rig: Rig

    def generator(runner: AsyncRunner, report: Report) -> Engine:
        transport = httpx2.MockTransport(server.answer)
        source = OpenAiSource(OpenAiSettings(), model="served", max_context_tokens=512, transport=transport)
        return StreamingEngine(source, runner, report, clock(), 8)

    def clock() -> ManualClock:
        return rig.clock

    rig = Rig(settings(admission=admission), generator=generator)
    return rig


def close(rig: Rig) -> None:
    for running in rig.workers.values():
        running.io.close()


def test_a_server_that_is_away_for_a_minute_costs_no_attempt_and_no_dead_letter() -> None:
    server = Server(status=None)
    rig = rig_over(server, max_attempts=1)
    running = rig.start()
    rig.run(1.0)
    for number in range(20):
        rig.send(f"c-{number}", message_id=f"m-{number}", text=f"hello {number}")
    rig.run(60.0, step=0.05)
    assert rig.replies == []
    assert running.journal.snapshots[-1].engine_away
    server.status = 200
    rig.run(70.0, step=0.05)
    assert rig.outcomes == {f"m-{n}": ["replied"] for n in range(20)}
    assert running.journal.failures == []
    assert running.journal.dead == []
    assert {reply["text"] for reply in rig.replies} == {"Hello there."}
    # Held turns do not ask again and again: the breaker's pauses grow to 30 s.
    assert max(server.asked.values()) < 60
    close(rig)


def test_a_key_that_is_refused_holds_the_turns_until_it_is_right_even_when_others_succeeded() -> None:
    server = Server()
    rig = rig_over(server, max_attempts=1)
    running = rig.start()
    rig.run(1.0)
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(1.0)
    server.status = 401
    rig.send("c-2", message_id="m-2", text="hello again")
    rig.run(120.0, step=0.05)
    assert running.journal.snapshots[-1].engine_away
    assert "m-2" not in rig.outcomes
    server.status = 200
    rig.run(60.0, step=0.05)
    assert rig.outcomes == {"m-1": ["replied"], "m-2": ["replied"]}
    assert running.journal.dead == []
    close(rig)


def test_a_request_that_the_server_calls_bad_becomes_a_dead_letter_alone() -> None:
    server = Server(status=400)
    rig = rig_over(server, max_attempts=2, retry_backoff_ms=10)
    running = rig.start()
    rig.run(1.0)
    rig.send("c-1", message_id="m-1", text="bad")
    rig.run(2.0)
    server.status = 200
    rig.send("c-2", message_id="m-2", text="good")
    rig.run(2.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"], "m-2": ["replied"]}
    assert server.asked["bad"] == 2
    assert [reason.value for reason, _ in running.journal.dead] == ["refused_by_engine"]
    close(rig)


class SlowServer(Server):
    """Answers the second question, and never the first."""

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if not self.asked:
            self.asked["first"] += 1
            await asyncio.Event().wait()
        return await super().answer(request)


def test_an_event_that_is_redriven_twice_is_asked_anew_while_its_first_request_still_ends() -> None:
    rig = rig_over(SlowServer(), max_attempts=1, max_turn_ms=500)
    rig.start()
    rig.run(1.0)
    for name in (b"first", b"second"):
        rig.send("c-1", headers=(("redrive", name),), message_id="m-1", text="hello")
    rig.run(5.0)
    assert rig.outcomes == {"m-1": ["dead_lettered", "replied"]}
    close(rig)
