"""A chat on the terminal: what a person sees of what the worker publishes, whatever comes first."""

import io
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

import pytest
from rich.console import Console

from stream_worker.cli.exchange import Conversation, Exchange
from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.decode import identity
from stream_worker.contracts.delta import Delta, DeltaState
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.contracts.versions import Versions
from stream_worker.errors import Code, Missing
from stream_worker.kafka.event_sender import Place
from stream_worker.kafka.gateway import Published
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome

VERSIONS = Versions(worker="0", bot="b", bot_version="1", model="m", settings="s")
PLACE = Place("chat.events", 3, 17)


class FakeGateway:
    """Answers each event with what it is told to, in order."""

    def __init__(self, answers: Iterable[Published] = ()) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, Mapping[str, object]]] = []

    def send(self, conversation: str, event: Mapping[str, object]) -> Place:
        self.sent.append((conversation, event))
        return PLACE

    def receive(self, wait_s: float) -> Published | None:
        return self.answers.pop(0) if self.answers else None


def conversation(gateway: FakeGateway, *, tenant: str = "") -> tuple[Conversation, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    fake: Any = gateway
    return Conversation(fake, console, "c-1", tenant=tenant, explain=False, expects_analysis=True), shown


def metric(outcome: Outcome, *, reply_id: str | None = None, offset: int = 17, turn_id: str = "t") -> EventMetric:
    return EventMetric(
        event_id="unlike the one that was sent",
        event_type="message",
        source="",
        conversation_id="",
        tenant="",
        turn_id=turn_id,
        reply_id=reply_id,
        partition=3,
        offset=offset,
        outcome=outcome,
        reason=DeadLetterReason.TOO_LARGE if outcome is Outcome.DEAD_LETTERED else None,
        attempt=1,
        term=1,
        at=0,
        versions=VERSIONS,
    )


def reply(text: str, turn_id: str = "t") -> Reply:
    return Reply(
        reply_id=turn_id,
        turn_id=turn_id,
        conversation_id="c-1",
        tenant="",
        channel="",
        in_reply_to=["m"],
        text=text,
        truncated=False,
        finish_reason=FinishReason.STOP,
        intent=None,
        term=1,
        attempt=1,
        at=0,
        versions=VERSIONS,
        metadata={},
    )


def analysis(intent: str | None, turn_id: str = "t") -> Analysis:
    return Analysis(
        turn_id=turn_id,
        reply_id=turn_id,
        conversation_id="c-1",
        tenant="",
        language="en",
        sentences=1,
        intent=intent,
        in_scope=True,
        intents=[],
        slots=[],
        decision="model",
        checks=[],
        generation=None,
        term=1,
        attempt=1,
        at=0,
        versions=VERSIONS,
    )


def delta(text: str, at: int, *, attempt: int = 1, turn_id: str = "t") -> Delta:
    return Delta(
        turn_id=turn_id,
        conversation_id="c-1",
        tenant="",
        term=1,
        attempt=attempt,
        seq=0,
        state=DeltaState.OPEN,
        at=at,
        text=text,
        versions=VERSIONS,
    )


@pytest.mark.parametrize(
    "records", list(permutations([metric(Outcome.REPLIED, reply_id="t"), reply("hi"), analysis(None)]))
)
def test_an_exchange_is_over_with_the_last_of_its_records_in_any_order(records: tuple[Published, ...]) -> None:
    exchange = Exchange(PLACE, "t")
    *first, last = records
    for record in first:
        exchange.take(record)
        assert not exchange.is_over
    exchange.take(last)
    assert exchange.is_over


def test_records_of_other_turns_are_not_taken() -> None:
    exchange = Exchange(PLACE, "t")
    for foreign in (metric(Outcome.SILENT, offset=18), reply("x", "u"), analysis("x", "u"), delta("x", 0, turn_id="u")):
        assert exchange.take(foreign) == ""
    assert (exchange.metric, exchange.reply, exchange.analysis, exchange.shown) == (None, None, None, "")


def test_deltas_are_shown_once_and_those_of_a_later_attempt_replace_them() -> None:
    exchange = Exchange(PLACE, "t")
    pieces = [delta("Hel", 0), delta("lo", 3), delta("lo", 3), delta("Bye", 0, attempt=2), delta("!", 5)]
    assert [exchange.take(piece) for piece in pieces] == ["Hel", "lo", "", "\n(again) Bye", ""]


def test_a_refused_event_ends_its_exchange_at_once() -> None:
    """Its metric knows neither the conversation nor the event's id: only where the record stood."""
    talk, shown = conversation(FakeGateway([metric(Outcome.DEAD_LETTERED)]))
    talk.say("x" * 20_000, 5.0)
    assert "dead letters" in shown.getvalue()
    assert "too_large" in shown.getvalue()


def test_the_reply_to_a_dead_letter_is_shown_even_if_its_metric_comes_first() -> None:
    exchange = Exchange(PLACE, "t")
    exchange.take(metric(Outcome.DEAD_LETTERED, reply_id="t"))
    assert not exchange.is_over
    exchange.take(reply("Sorry."))
    assert exchange.is_over


def test_no_two_messages_share_an_id_and_each_turn_is_known_before_it_begins() -> None:
    gateway = FakeGateway([metric(Outcome.SILENT), metric(Outcome.SILENT)])
    talk, _ = conversation(gateway, tenant="acme")
    other, _ = conversation(gateway, tenant="acme")
    exchanges = [talk.say("one", 5.0), other.say("two", 5.0)]
    keys, events = zip(*gateway.sent, strict=True)
    assert keys == ("acme/c-1", "acme/c-1")
    ids = [str(event["message_id"]) for event in events]
    assert len(set(ids)) == 2
    assert [exchange.turn_id for exchange in exchanges] == [identity("acme/c-1", "", each) for each in ids]


def test_a_signal_says_how_it_ended() -> None:
    talk, _ = conversation(FakeGateway([metric(Outcome.DUPLICATE)]))
    assert talk.signal("erasure", 5.0).outcome is Outcome.DUPLICATE


def test_silence_is_an_error_that_names_the_event() -> None:
    talk, _ = conversation(FakeGateway())
    with pytest.raises(Missing, match=r"chat\.events partition 3 offset 17") as caught:
        talk.say("hello", 0.0)
    assert caught.value.code is Code.NO_ANSWER


class Echo(FakeGateway):
    """Answers every message with a reply that repeats it."""

    def send(self, conversation: str, event: Mapping[str, object]) -> Place:
        turn_id = identity(conversation, "", str(event["message_id"]))
        text = str(event["text"])
        self.answers = [metric(Outcome.REPLIED, reply_id=turn_id), reply(text, turn_id), analysis(None, turn_id)]
        return super().send(conversation, event)


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    talk, shown = conversation(Echo())
    talk.say("[/b] and [red]x[/red]", 5.0)
    assert "[/b] and [red]x[/red]" in shown.getvalue()
