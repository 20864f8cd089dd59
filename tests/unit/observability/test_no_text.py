"""What somebody wrote is in no log line, metric, span, header or record of how an event ended, however it ended.

Whole workers in memory: every outcome and every reason of a dead letter, calls and engines whose errors quote what they
were sent, logs at debug, traces on.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import structlog

from stream_worker import process
from stream_worker.bot.bots import Binding
from stream_worker.clock import SystemClock
from stream_worker.contracts import decode
from stream_worker.contracts.decode import Arrival
from stream_worker.errors import Code, Fatal
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.observability.logs import configure_logs
from stream_worker.orders import (
    Failed,
    Generate,
    Result,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason, Outcome
from stream_worker.publication import Publication
from stream_worker.record import Headers
from stream_worker.reporter import Reporter
from stream_worker.settings.observability import ObservabilitySettings
from stream_worker.tokens import ChatMessage, PromptMessages, Role, Sampling
from stream_worker.tracing import CAPTURE
from stream_worker.turn import Turn
from stream_worker.worker import Worker
from tests.eventually import eventually
from tests.unit.observability.telling import CANARY, World
from tests.unit.worker.test_poison import _Poisonable, _Supervised

_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_TRACED: Headers = (("traceparent", _TRACE.encode()),)


def everything_is_settled(world: World) -> None:
    """Texts on every way that an event can go with one bot."""
    rig = world.rig(admission={"max_turn_ms": 5_000, "max_text_chars": 200, "max_waiting_events": 2})
    rig.start()
    rig.run(0.5)
    said = (
        "weather in", "weather raises", "weather refuses", "weather fails", "broken is", "form please", "hello",
        "refused", "too long", "hangs", "odd",
    )  # fmt: skip
    for number, text in enumerate(said):
        rig.send(f"c-{number}", headers=_TRACED, message_id=f"m-{number}", text=f"{text} {CANARY}")
    rig.send("c-0", headers=_TRACED, message_id="m-0", text=f"again {CANARY}")
    rig.send("c-late", headers=_TRACED, message_id="m-late", text=CANARY, expires_at=1)
    rig.send("c-long", headers=_TRACED, message_id="m-long", text=f"{CANARY} " * 100)
    for number in range(8):
        rig.send(
            "c-many", headers=_TRACED, message_id=f"w-{number}", text=f"hangs {CANARY}", sender={"id": f"u-{number}"}
        )
    rig.send("c-agent", message_id="m-agent", text=CANARY, sender={"id": "a", "role": "agent", "name": CANARY})
    rig.send("c-trigger", headers=_TRACED, type="trigger", name=CANARY, message_id="t-1", arguments={"a": CANARY})
    rig.send("c-1", type="feedback", message_id="f-1", reply_id="r-1", score=1.0, comment=CANARY)
    rig.send("c-1", type="reaction", message_id="r-1", target_id="m-1", reaction=CANARY)
    rig.send("c-1", type="action_result", message_id="a-1", command_id="x", succeeded=True, result={CANARY: CANARY})
    rig.run(2.0)
    rig.send("c-many", type="handoff", message_id="h-1", reason=CANARY)
    rig.broker.refuse("chat.replies", lambda record: b"dropped" in (record.value or b""))
    rig.send("c-dropped", headers=_TRACED, message_id="m-dropped", text=f"dropped {CANARY}")
    rig.run(10.0)
    world.machines.recovered = True
    rig.run(40.0, step=0.02)


def nothing_can_be_read(world: World) -> None:
    """Records that are no events; with tenants, and with no bot for a channel."""
    rig = world.rig()
    rig._bots.replace((Binding("*", "web", rig._bots.all[0]),))
    rig.start()
    event = {"conversation_id": "c-1", "sender": {"id": "u"}, "text": CANARY}
    values: Sequence[tuple[bytes | None, bytes | None, Headers]] = (
        (None, orjson.dumps(event), ()),
        (b"c-other", orjson.dumps(event), ()),
        (b"c-1", None, (("x", CANARY.encode()),)),
        (b"c-1", b"\xff" + CANARY.encode(), ()),
        (b"c-1", f'{{"text": "{CANARY}'.encode(), ()),
        (b"c-1", orjson.dumps([CANARY]), ()),
        (b"c-1", orjson.dumps(CANARY), ()),
        (b"c-1", orjson.dumps({**event, "type": CANARY}), ()),
        (b"c-1", orjson.dumps(event), (("ce_type", CANARY.encode()),)),
        (b"c-1", orjson.dumps(event), (("content-type", CANARY.encode()),)),
        (b"c-1", orjson.dumps(event), (("ce_id", CANARY.encode() + b"\xff"),)),
        (b"c-1", orjson.dumps(event), (("ce_id", CANARY.encode() * 100),)),
        (b"c-1", orjson.dumps({"data": event, "id": [CANARY]}), (("content-type", b"application/cloudevents+json"),)),
        (b"c-\xff", orjson.dumps(event), ()),
    )
    for key, value, headers in values:
        rig.broker.append("chat.events", key, value, headers)
    wrong: Sequence[dict[str, Any]] = (
        {"sender": CANARY}, {"sender": {"id": "u", "role": CANARY}}, {"text": [CANARY]}, {"text": {CANARY: CANARY}},
        {"text": None, "content": [{"type": CANARY, "text": CANARY}]}, {"text": None, "content": [{CANARY: CANARY}]},
        {"text": None, "content": [{"type": "image", "uri": "x", "sha256": CANARY}]}, {"metadata": [CANARY]},
        {"metadata": {CANARY: CANARY * 900}}, {"expires_at": CANARY}, {"conversation_id": [CANARY]},
        {"message_id": {CANARY: 1}},
        {"type": "feedback", "reply_id": "r", "score": CANARY}, {"type": "edit", "target_id": {CANARY: CANARY}},
        {"type": "action_result", "name": [CANARY]}, {"type": "erasure", "scope": CANARY},
        {"channel": CANARY * 90},
        {"time_zone": CANARY}, {"language": CANARY},
    )  # fmt: skip
    for number, fields in enumerate(wrong):
        rig.send("c-1", headers=_TRACED, **{**event, "message_id": f"e-{number}", **fields})
    rig.run(1.0)
    tenants = world.rig(admission={"tenants": True})
    tenants.start()
    tenants.send("c-1", key=b"acme/c-1", message_id="m-1", text=CANARY)
    tenants.run(1.0)


def people_type_in_bursts(world: World) -> None:
    for taking in ("merge", "interrupt"):
        rig = world.rig(taking=taking, window_ms=100)
        rig.start()
        rig.run(0.5)
        for number in range(3):
            rig.send("c-1", headers=_TRACED, message_id=f"{taking}-{number}", text=f"hello {CANARY}")
        rig.run(2.0)


def a_message_ends_processes(world: World) -> None:
    rig = world.rig(model_server=False)
    rig.stepper = lambda clock: _Poisonable(clock, seconds=lambda _: 0.01)
    supervised = _Supervised(rig, 1)
    supervised.run(2.0)
    rig.send("c-1", headers=_TRACED, message_id="m-poison", text=f"poison {CANARY}")
    supervised.run_until_settled(1)


def everything_happens(world: World) -> None:
    everything_is_settled(world)
    nothing_can_be_read(world)
    people_type_in_bursts(world)
    a_message_ends_processes(world)
    world.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    log = io.StringIO()
    configure_logs(ObservabilitySettings(log_level="debug"), lambda _: None, log)
    yield World(tmp_path, log)
    structlog.reset_defaults()


def test_what_somebody_wrote_is_seen_nowhere_however_it_ends(world: World) -> None:
    everything_happens(world)
    assert world.outcomes() == set(Outcome)
    assert world.reasons() == set(DeadLetterReason)
    assert world.log.getvalue().count('"call failed"') == 3
    assert world.leaks() == set()
    assert all(world.sinks().values())
    assert any(CANARY in reply["text"] for rig in world.rigs for reply in rig.replies), "the texts were worked on"
    assert CANARY in repr([rig.broker.read_committed("chat.dead-letters") for rig in world.rigs])


def _quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter's message with what was wrong."""
    monkeypatch.setattr(decode, "_where", lambda error: str(error))


def _says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's failure with what was asked."""
    told = Reporter.called

    def called(self: Reporter, turn: Turn, name: str, seconds: float, failure: str | None) -> None:
        told(self, turn, name, seconds, failure and f"{failure}: {turn.text}")

    monkeypatch.setattr(Reporter, "called", called)


def _exemplifies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reporter, "_trace", lambda self, turn: CANARY if CANARY in turn.text else "")


def _captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "true")


def _records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text as the id of the event."""
    kept = Publication.metric

    def metric(self: Publication, arrival: Arrival, *arguments: Any, **more: Any) -> Any:
        text = str(getattr(arrival.event, "text", ""))
        named = Arrival(
            arrival.record, arrival.event, arrival.conversation, text, arrival.source, arrival.identity, arrival.headers
        )
        return kept(self, named, *arguments, **more)

    monkeypatch.setattr(Publication, "metric", metric)


@pytest.mark.parametrize(
    ("plant", "happens", "found"),
    [
        (_quotes, nothing_can_be_read, {"log", "headers of dead letters"}),
        (_says_what, everything_is_settled, {"log"}),
        (_exemplifies, everything_is_settled, {"metrics", "log"}),
        (_captures, everything_is_settled, {"spans"}),
        (_records, everything_is_settled, {"chat.metrics"}),
    ],
)
def test_a_text_is_found_wherever_a_bug_puts_it(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    happens: Callable[[World], None],
    found: set[str],
) -> None:
    plant(monkeypatch)
    happens(world)
    world.close()
    assert world.leaks() == found


class _Raising(ScriptedStepper):
    """A device whose library quotes the prompt in its error."""

    def add(self, order: Generate) -> None:
        raise RuntimeError(f"cannot run {order.prompt}")


def test_a_device_that_fails_does_not_say_of_what() -> None:
    reported: list[Result] = []
    clock = SystemClock()
    device = DeviceThread(
        Models(stepper=lambda: _Raising(clock, seconds=lambda _: 0.01), encoder=lambda: None), reported.append, clock
    )
    device.wait_ready(30.0)
    prompt = PromptMessages(messages=(ChatMessage(Role.USER, CANARY),))
    ref = TurnRef(0, 1, "0" * 32, 1)
    device.submit(Generate(ref=ref, conversation="c-1", prompt=prompt, sampling=Sampling(), seed=1, cache_scope=""))
    (failed,) = eventually(lambda: reported, 10.0)
    assert isinstance(failed, Failed)
    assert "RuntimeError at " in failed.message
    assert CANARY not in failed.message


class _Fails:
    def run(self) -> None:
        raise ValueError(CANARY) from KeyError(CANARY)


def test_a_worker_that_fails_says_where_and_not_with_what(world: World) -> None:
    with pytest.raises(Fatal) as caught:
        process._run(cast(Worker, _Fails()))
    assert caught.value.code is Code.WORKER_FAILED
    assert CANARY not in str(caught.value) + world.log.getvalue()
    (line,) = [orjson.loads(line) for line in world.log.getvalue().splitlines()]
    assert line["raised"].startswith("ValueError at ")
    assert len(line["frames"]) >= 2


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_without_its_message(form: str) -> None:
    log = io.StringIO()
    configure_logs(ObservabilitySettings.model_validate({"log_format": form}), lambda _: None, log)
    try:
        _Fails().run()
    except ValueError:
        structlog.get_logger().exception("it failed")
    structlog.reset_defaults()
    assert "ValueError at " in log.getvalue()
    assert CANARY not in log.getvalue()
