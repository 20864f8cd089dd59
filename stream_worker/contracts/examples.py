"""Two or more examples of every record: they stand in the schemas, and are valid by them."""

from collections.abc import Mapping

from stream_worker.contracts.action import Command
from stream_worker.contracts.analysis import Analysis, GenerationEvidence, IntentEvidence, SlotEvidence
from stream_worker.contracts.delta import Delta, DeltaState
from stream_worker.contracts.metric import EventMetric, Timings, Tokens
from stream_worker.contracts.reply import Reply
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome

_AT = 1_790_000_000_000
_TURN = "9f86d081884c7d659a2feaa0c55ad015"
_VERSIONS = Versions(
    worker="0.1.0", settings="79214bb0e1f1", bot="demo", bot_version="1", model="smollm2-135m-instruct"
)
_NO_BOT = Versions(worker="0.1.0", settings="79214bb0e1f1", bot="", bot_version="", model="smollm2-135m-instruct")

EVENTS: tuple[Mapping[str, object], ...] = (
    {
        "conversation_id": "c-42",
        "message_id": "m-1",
        "sender": {"id": "u-7"},
        "text": "What's the weather in Beijing?",
    },
    {
        "type": "message",
        "conversation_id": "c-42",
        "tenant": "acme",
        "message_id": "m-2",
        "channel": "web",
        "sender": {"id": "u-7", "role": "user", "name": "Ada"},
        "content": [
            {"type": "text", "text": "And here?"},
            {"type": "image", "uri": "https://cdn.example/p.jpg", "media_type": "image/jpeg", "bytes": 48213},
            {"type": "location", "latitude": 31.23, "longitude": 121.47, "name": "Shanghai"},
            {"type": "card", "text": "Order 17", "payload": {"order": 17}},
        ],
        "reply_to": "m-1",
        "mentions": ["bot"],
        "locale": "en-GB",
        "sent_at": _AT,
        "metadata": {"thread": "t-9"},
    },
    {"type": "edit", "conversation_id": "c-42", "sender": {"id": "u-7"}, "target_id": "m-1", "text": "And in Xi'an?"},
    {"type": "deletion", "conversation_id": "c-42", "sender": {"id": "u-7"}, "target_id": "m-1"},
    {"type": "reaction", "conversation_id": "c-42", "sender": {"id": "u-7"}, "target_id": _TURN, "reaction": "👍"},
    {"type": "handoff", "conversation_id": "c-42", "agent_id": "a-3", "reason": "asked for a person"},
    {"type": "handback", "conversation_id": "c-42"},
    {"type": "closed", "conversation_id": "c-42"},
    {"type": "erasure", "conversation_id": "c-42"},
    {"type": "feedback", "conversation_id": "c-42", "reply_id": _TURN, "score": 1.0},
    {"type": "trigger", "conversation_id": "c-42", "name": "reminder", "arguments": {"days": 3}},
    {"type": "action_result", "conversation_id": "c-42", "command_id": f"{_TURN}/0", "succeeded": True},
    {"type": "signal", "conversation_id": "c-42", "sender": {"id": "u-7"}, "signal": "typing"},
)

REPLIES = (
    Reply(
        reply_id=_TURN,
        turn_id=_TURN,
        conversation_id="c-42",
        tenant="",
        channel="web",
        in_reply_to=["m-1"],
        text="It is sunny in Beijing, 24 °C.",
        finish_reason=FinishReason.STOP,
        intent="weather",
        term=3,
        attempt=1,
        at=_AT,
        versions=_VERSIONS,
    ),
    Reply(
        reply_id=_TURN,
        turn_id=_TURN,
        conversation_id="c-43",
        tenant="acme",
        channel="",
        in_reply_to=["m-8", "m-9"],
        text="Sorry, I cannot answer that right now.",
        finish_reason=FinishReason.FALLBACK,
        intent=None,
        term=3,
        attempt=3,
        at=_AT,
        versions=_VERSIONS,
        metadata={"thread": "t-9"},
    ),
)

DELTAS = (
    Delta(
        turn_id=_TURN,
        conversation_id="c-42",
        tenant="",
        term=3,
        attempt=1,
        seq=0,
        state=DeltaState.OPEN,
        at=0,
        text="It is sunny",
        versions=_VERSIONS,
    ),
    Delta(
        turn_id=_TURN,
        conversation_id="c-42",
        tenant="",
        term=3,
        attempt=1,
        seq=1,
        state=DeltaState.DONE,
        at=11,
        text=" in Beijing, 24 °C.",
        versions=_VERSIONS,
    ),
)

ANALYSES = (
    Analysis(
        turn_id=_TURN,
        reply_id=_TURN,
        conversation_id="c-42",
        tenant="",
        language="en",
        sentences=1,
        intent="weather",
        in_scope=True,
        intents=[IntentEvidence(name="weather", score=0.97), IntentEvidence(name="smalltalk", score=0.02)],
        slots=[SlotEvidence(name="city", value="Beijing", carried=False, start=22, end=29, score=0.99)],
        decision="model",
        checks=[],
        generation=GenerationEvidence(
            prompt_hash="6b86b273ff34fce1",
            prompt_tokens=61,
            cached_tokens=40,
            sampled_ids=[1589, 314, 15892, 2],
            seed=42,
            temperature=0.0,
            max_new_tokens=128,
        ),
        term=3,
        attempt=1,
        at=_AT,
        versions=_VERSIONS,
    ),
    Analysis(
        turn_id=_TURN,
        reply_id=_TURN,
        conversation_id="c-42",
        tenant="",
        language="en",
        sentences=2,
        intent=None,
        in_scope=False,
        intents=[],
        slots=[SlotEvidence(name="city", value="Beijing", carried=True)],
        decision="template",
        checks=["refusal"],
        generation=None,
        term=3,
        attempt=1,
        at=_AT,
        versions=_VERSIONS,
    ),
)

COMMANDS = (
    Command(
        command_id=f"{_TURN}/0",
        turn_id=_TURN,
        conversation_id="c-42",
        tenant="",
        name="lamp.switch",
        arguments={"room": "kitchen", "on": True},
        at=_AT,
        versions=_VERSIONS,
    ),
    Command(
        command_id=f"{_TURN}/1",
        turn_id=_TURN,
        conversation_id="c-42",
        tenant="acme",
        name="ticket.open",
        at=_AT,
        versions=_VERSIONS,
    ),
)

METRICS = (
    EventMetric(
        event_id="m-1",
        event_type="message",
        source="",
        conversation_id="c-42",
        tenant="",
        turn_id=_TURN,
        reply_id=_TURN,
        partition=7,
        offset=1203,
        outcome=Outcome.REPLIED,
        finish_reason=FinishReason.STOP,
        attempt=1,
        term=3,
        at=_AT,
        timings=Timings(
            parse=0.001, understand=0.012, dialogue=0.001, queued=0.003, first_token=0.09, generate=0.61, total=0.74
        ),
        tokens=Tokens(prompt=61, cached=40, generated=14),
        versions=_VERSIONS,
    ),
    EventMetric(
        event_id="chat.events/7/1204",
        event_type="",
        source="",
        conversation_id="",
        tenant="",
        turn_id=None,
        reply_id=None,
        partition=7,
        offset=1204,
        outcome=Outcome.DEAD_LETTERED,
        reason=DeadLetterReason.INVALID_JSON,
        attempt=0,
        term=3,
        at=_AT,
        versions=_NO_BOT,
    ),
)

#: Headers of a dead letter, as text.
DEAD_LETTERS: tuple[Mapping[str, str], ...] = (
    {
        "sw_reason": DeadLetterReason.INVALID_JSON,
        "sw_message": "the value is not JSON",
        "sw_topic": "chat.events",
        "sw_partition": "7",
        "sw_offset": "1204",
        "sw_timestamp": str(_AT),
        "sw_worker": "0.1.0",
        "sw_settings": _VERSIONS.settings,
        "sw_bot": "",
        "sw_bot_version": "",
        "sw_model": _VERSIONS.model,
    },
    {
        "sw_reason": DeadLetterReason.TOO_LARGE,
        "sw_message": "the text is longer than 16384 characters",
        "sw_topic": "chat.events",
        "sw_partition": "7",
        "sw_offset": "1205",
        "sw_timestamp": str(_AT),
        "sw_worker": "0.1.0",
        "sw_settings": _VERSIONS.settings,
        "sw_bot": "",
        "sw_bot_version": "",
        "sw_model": _VERSIONS.model,
        "sw_truncated": "1",
    },
)
