"""Records as a worker writes them."""

from dataclasses import replace
from typing import Any

import orjson

from stream_worker.contracts import dead_letter, examples
from stream_worker.contracts.decode import identity
from stream_worker.contracts.delta import DeltaState
from stream_worker.kafka.topics import Role
from stream_worker.outcome import Outcome
from stream_worker.record import Record

Seen = tuple[Role, Record]
AT = 1_790_000_000_000


def turn_of(conversation: str, event_id: str) -> str:
    return identity(conversation, "", event_id)


def record(value: object, key: str, offset: int = 0, at: int = AT, partition: int = 0) -> Record:
    return Record("t", partition, offset, at, key.encode(), orjson.dumps(value), ())


def event(conversation: str, event_id: str, offset: int, text: str = "hello", at: int = AT, **more: Any) -> Seen:
    fields = {"conversation_id": conversation, "message_id": event_id, "sender": {"id": "u-1"}, "text": text, **more}
    return Role.EVENTS, record(fields, conversation, offset, at)


def erasure(conversation: str, offset: int, at: int) -> Seen:
    return Role.EVENTS, record({"type": "erasure", "conversation_id": conversation}, conversation, offset, at)


def delta(conversation: str, event_id: str, at: int, text: str, attempt: int = 1, term: int = 3) -> Seen:
    turn_id, state = turn_of(conversation, event_id), DeltaState.OPEN
    value = replace(examples.DELTAS[0], turn_id=turn_id, conversation_id=conversation, term=term, state=state)
    value = replace(value, attempt=attempt, at=at, text=text)
    return Role.DELTAS, record(value, conversation)


def reply(conversation: str, event_id: str, text: str, at: int = AT) -> Seen:
    turn_id = turn_of(conversation, event_id)
    value = replace(
        examples.REPLIES[0], reply_id=turn_id, turn_id=turn_id, conversation_id=conversation, text=text, at=at
    )
    return Role.REPLIES, record(value, conversation, at=at)


def analysis(conversation: str, event_id: str, at: int = AT, **changes: Any) -> Seen:
    turn_id = turn_of(conversation, event_id)
    names = {"turn_id": turn_id, "reply_id": turn_id, "conversation_id": conversation, "at": at}
    value = replace(examples.ANALYSES[0], **{**names, **changes})
    return Role.ANALYSIS, record(value, conversation, at=at)


def metric(
    conversation: str,
    event_id: str,
    offset: int,
    outcome: Outcome = Outcome.REPLIED,
    turn: str | None = None,
    at: int = AT,
) -> Seen:
    turn_id = turn_of(conversation, turn or event_id)
    value = replace(
        examples.METRICS[0],
        event_id=event_id,
        conversation_id=conversation,
        turn_id=turn_id,
        reply_id=turn_id,
        partition=0,
        offset=offset,
        outcome=outcome,
        at=at,
    )
    return Role.METRICS, record(value, conversation, at=at)


def command(conversation: str, event_id: str, arguments: dict[str, Any]) -> Seen:
    turn_id = turn_of(conversation, event_id)
    value = replace(examples.COMMANDS[0], turn_id=turn_id, conversation_id=conversation, arguments=arguments)
    return Role.ACTIONS, record(value, conversation)


def letter(offset: int, reason: str, value: bytes, *, cut: bool = False, original: int = 0) -> Seen:
    headers = [(dead_letter.REASON, reason.encode()), (dead_letter.WORKER, b"1.0"), (dead_letter.PARTITION, b"0")]
    headers += [(dead_letter.OFFSET, b"%d" % original)]
    headers += [(dead_letter.TRUNCATED, b"1")] if cut else []
    return Role.DEAD_LETTERS, Record("t", 0, offset, AT, b"c", value, tuple(headers))


def mark(place: str, fate: str, by: str, *, edited: bool = False) -> Seen:
    said = [(dead_letter.MARKS, place), (dead_letter.MARK, fate), (dead_letter.MARKED_BY, by)]
    said += [(dead_letter.MARKED_EDITED, "1")] if edited else []
    return Role.DEAD_LETTERS, Record("t", 0, 99, AT, b"c", None, tuple((name, text.encode()) for name, text in said))
