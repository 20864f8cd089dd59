"""No record stops a worker: what is too large for a topic is cut, left out or a dead letter, and is counted once."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.bot.loader import load_bot
from stream_worker.kafka.topics import LEAST_MAX_BYTES
from stream_worker.orders import Generate
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Headers
from stream_worker.settings import Settings
from stream_worker.tokens import PromptMessages
from tests.unit.worker.rig import MODEL_BOT, Journal, Rig, settings

_MEGABYTE = b"x" * 1_000_000


def _echo(order: Generate) -> str:
    assert isinstance(order.prompt, PromptMessages)
    return order.prompt.messages[-1].text


def _counted(journal: Journal) -> Counter[Outcome]:
    counts: Counter[Outcome] = Counter()
    for outcome, events in journal.outcomes:
        counts[outcome] += events
    return counts


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (_MEGABYTE, ()),
        (b"c-1", (("ce_id", b"x" * 700_000),)),
        (b"c-1", (("traceparent", _MEGABYTE),)),
        (b"c-1", (("tracestate", _MEGABYTE),)),
        (b"c-1", (("redrive", _MEGABYTE),)),
    ],
    ids=["key", "ce_id", "traceparent", "tracestate", "redrive"],
)
def test_a_record_that_is_large_where_no_event_is_stops_nobody(key: bytes, headers: Headers) -> None:
    rig = Rig()
    rig.start()
    rig.send("c-1", key=key, headers=headers, text="hello")
    rig.send("c-2", message_id="m-2", text="hello")
    rig.run(1.0)
    assert rig.outcomes["m-2"] == ["replied"]
    assert Counter(outcome for (outcome,) in rig.outcomes.values()) == {"replied": 1, "dead_lettered": 1}
    (letter,) = rig.broker.read_committed(rig.settings.topics.dead_letters)
    assert letter.key == key


_LONGEST = {"conversation_id": 512, "message_id": 512, "source": 512, "tenant": 256, "channel": 256}


@given(
    letter=st.sampled_from(["x", "\u0001", "\U0001f600", '"']),
    headers=st.sets(st.sampled_from(["ce_id", "ce_source", "traceparent", "tracestate", "redrive"])),
)
def test_the_metric_of_any_event_fits_the_smallest_topic(letter: str, headers: set[str]) -> None:
    rig = Rig(settings(admission={"tenants": True}))
    rig.broker.limit(rig.settings.topics.metrics, LEAST_MAX_BYTES)
    rig.start()
    fields = {name: letter * chars for name, chars in _LONGEST.items()}
    conversation = fields.pop("conversation_id")
    key = f"{fields['tenant']}/{conversation}".encode()
    longest = tuple((name, (letter * 512).encode()) for name in sorted(headers))
    rig.send(conversation, key=key, headers=longest, text="hello", **fields)
    rig.run(0.5)
    assert [outcome for (outcome,) in rig.outcomes.values()] == ["replied"]


def test_an_analysis_that_is_too_large_loses_its_evidence_and_the_turn_keeps_its_reply() -> None:
    rig = Rig(reply=lambda _: "word " * 128, seconds=lambda _: 0.0)
    rig.broker.limit(rig.settings.topics.analysis, 1_200)
    running = rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["replied"]}
    (analysis,) = rig.published(rig.settings.topics.analysis)
    assert analysis["truncated"]
    assert analysis["generation"]["sampled_ids"] == []
    assert _counted(running.journal) == {Outcome.REPLIED: 1}


def test_a_command_that_is_too_large_fails_its_turn_and_no_half_of_it_is_emitted(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    text = "x" * LEAST_MAX_BYTES
    file.write_text(
        f"bot: b\nerror_reply: Sorry.\nfallback:\n  emit: [{{command: note, arguments: {{text: {text}}}}}]\n"
    )
    rig = Rig(bot=load_bot(file, Settings()))
    rig.broker.limit(rig.settings.topics.actions, LEAST_MAX_BYTES)
    running = rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"]}
    assert [reply["text"] for reply in rig.replies] == ["Sorry."]
    assert rig.published(rig.settings.topics.actions) == []
    assert [reason for reason, _ in running.journal.dead] == [DeadLetterReason.TOO_LARGE]


def test_a_preview_that_is_too_large_is_dropped_and_counted() -> None:
    rig = Rig(settings(outputs={"deltas": "raw", "delta_interval_ms": 0}), reply=lambda _: "x" * 2_000)
    rig.broker.limit(rig.settings.topics.deltas, 1_000)
    running = rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["replied"]}
    assert running.journal.deltas_dropped > 0


def test_a_refused_turn_gets_the_bots_fallback_and_every_event_is_counted_once() -> None:
    rig = Rig(bot=replace(MODEL_BOT, error_reply="Sorry."), reply=_echo)
    rig.broker.refuse(rig.settings.topics.replies, lambda record: b"refuse me" in (record.value or b""))
    running = rig.start()
    for number in range(3):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.send("c-bad", message_id="m-bad", text="refuse me")
    rig.send("c-bad", message_id="m-later", text="hello")
    rig.run(2.0)
    assert rig.outcomes["m-bad"] == ["dead_lettered"]
    assert rig.outcomes["m-later"] == ["replied"]
    assert [reply["text"] for reply in rig.replies if reply["conversation_id"] == "c-bad"] == ["Sorry.", "hello"]
    (metric,) = (metric for metric in rig.metrics if metric["event_id"] == "m-bad")
    assert metric["reply_id"]
    expected = {Outcome.REPLIED: 4, Outcome.DEAD_LETTERED: 1}
    assert _counted(running.journal) == expected
    assert Counter(running.journal.finished)[FinishReason.FALLBACK] == 1
    assert [reason for reason, _ in running.journal.dead] == [DeadLetterReason.REFUSED_BY_BROKER]


def test_a_fallback_that_is_refused_too_is_left_out() -> None:
    rig = Rig(bot=replace(MODEL_BOT, error_reply="Sorry."))
    rig.broker.refuse(rig.settings.topics.replies, lambda _: True)
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(2.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"]}
    assert rig.replies == []
    assert orjson.dumps(rig.metrics[0]["reply_id"]) == b"null"
