"""From a Kafka record to an event, or to the reason why not. Pure; never raises for bad input."""

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Self

import orjson
from msgspec import Struct, structs
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from stream_worker.contracts.event import EVENT_TYPES, Event
from stream_worker.contracts.headers import JSON, STRUCTURED, InputHeaders, read_envelope, read_headers
from stream_worker.outcome import DeadLetterReason
from stream_worker.record import Record
from stream_worker.settings import Settings

_VALIDATE = {name: TypeAdapter(type_).validator.validate_python for name, type_ in EVENT_TYPES.items()}
_CONTENT_TYPES = frozenset({"", JSON, STRUCTURED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRules:
    """What the settings say of decoding."""

    tenants: bool = False
    max_text_chars: int = 16_384
    wrong_key_allowed: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the workers."""
        return cls(
            tenants=settings.admission.tenants,
            max_text_chars=settings.admission.max_text_chars,
            wrong_key_allowed=settings.kafka.on_wrong_key == "warn",
        )


class Arrival(Struct, frozen=True):
    """A decoded event with its place in the topic.

    `conversation` is the key of every topic. `identity` is a hash of conversation, source and event id, 32 hex
    digits: it names the turn that this event begins, the same after any replay.
    """

    record: Record
    event: Event
    conversation: str
    event_id: str
    source: str
    identity: str
    headers: InputHeaders

    @property
    def offset(self) -> int:
        return self.record.offset

    def redriven(self, name: str) -> "Arrival":
        """The same, as if it had been sent again with a `redrive` header."""
        return structs.replace(self, headers=replace(self.headers, redrive=name))


class Undecodable(Struct, frozen=True):
    """A record that cannot become an event. `detail` names fields, never their content."""

    record: Record
    reason: DeadLetterReason
    detail: str


def decode(record: Record, rules: DecodeRules) -> Arrival | Undecodable:
    """The event of `record`. The conversation is the record's key and must match the value."""
    if record.key is None:
        return Undecodable(record, DeadLetterReason.NO_KEY, "the record has no key: use the conversation as key")
    if record.value is None:
        return Undecodable(record, DeadLetterReason.NO_VALUE, "the record has no value")
    if not record.headers_readable:
        return Undecodable(record, DeadLetterReason.INVALID_HEADERS, "the name of a header is not UTF-8")
    try:
        key = record.key.decode()
        headers = read_headers(record.headers)
    except UnicodeDecodeError:
        return Undecodable(record, DeadLetterReason.INVALID_HEADERS, "the key is not UTF-8")
    except ValueError as error:
        return Undecodable(record, DeadLetterReason.INVALID_HEADERS, str(error))
    content_type = headers.content_type and headers.content_type.partition(";")[0].strip().lower()
    if content_type not in _CONTENT_TYPES:
        known = f"{JSON} or {STRUCTURED}"
        return Undecodable(record, DeadLetterReason.UNSUPPORTED_CONTENT_TYPE, f"the content type must be {known}")
    fields: Any = _parse(record, record.value)
    if isinstance(fields, Undecodable):
        return fields
    if content_type == STRUCTURED:
        try:
            headers = read_envelope(fields, headers)
        except ValueError as error:
            return Undecodable(record, DeadLetterReason.INVALID_HEADERS, str(error))
        fields = fields.get("data")
        if not isinstance(fields, dict):
            return Undecodable(record, DeadLetterReason.INVALID_EVENT, "the CloudEvent's data is not a JSON object")
    event = _validate(record, fields, headers)
    if isinstance(event, Undecodable):
        return event
    if (text := getattr(event, "plain_text", None) or getattr(event, "text", None)) and len(
        text
    ) > rules.max_text_chars:
        return Undecodable(
            record, DeadLetterReason.TOO_LARGE, f"the text is longer than {rules.max_text_chars} characters"
        )
    return _place(record, event, key, headers, rules)


def conversation_key(event: Event, tenants: bool) -> str:
    """The key of every topic: `<tenant>/<conversation_id>`, or `<conversation_id>` without tenants."""
    return f"{event.tenant}/{event.conversation_id}" if tenants else event.conversation_id


def _parse(record: Record, value: bytes) -> dict[str, Any] | Undecodable:
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            value.decode()
        except UnicodeDecodeError:
            return Undecodable(record, DeadLetterReason.INVALID_ENCODING, "the value is not UTF-8")
        return Undecodable(
            record, DeadLetterReason.INVALID_JSON, "the value is not JSON (or nests too deep, or has a lone surrogate)"
        )
    if not isinstance(fields, dict):
        return Undecodable(record, DeadLetterReason.INVALID_EVENT, "the value is not a JSON object")
    return fields


def _validate(record: Record, fields: dict[str, Any], headers: InputHeaders) -> Event | Undecodable:
    name = fields.get("type") or headers.type.rpartition(".")[2] or "message"
    validate = _VALIDATE.get(name) if isinstance(name, str) else None
    if validate is None:
        known = ", ".join(EVENT_TYPES)
        return Undecodable(record, DeadLetterReason.UNKNOWN_TYPE, f"the event's type must be one of {known}")
    try:
        fields["type"] = name
        event: Event = validate(fields)
    except ValidationError as error:
        return Undecodable(record, DeadLetterReason.INVALID_EVENT, _where(error))
    return event


def _where(error: ValidationError) -> str:
    """The fields that are wrong and why, without their content."""
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'event'}: {_why(item)}" for item in found[:5])


def _why(item: ErrorDetails) -> str:
    """Pydantic's sentence; but that of a union quotes what was written."""
    if item["type"] == "union_tag_invalid":
        return f"its type must be one of {item['ctx']['expected_tags']}"
    return item["msg"]


def _place(record: Record, event: Event, key: str, headers: InputHeaders, rules: DecodeRules) -> Arrival | Undecodable:
    if rules.tenants and not event.tenant:
        return Undecodable(record, DeadLetterReason.NO_TENANT, "the event has no tenant, and `tenants` is on")
    conversation = conversation_key(event, rules.tenants)
    if conversation != key and not rules.wrong_key_allowed:
        return Undecodable(record, DeadLetterReason.WRONG_KEY, "the record's key is not the event's conversation")
    event_id = headers.id or event.message_id or f"{record.topic}/{record.partition}/{record.offset}"
    source = headers.source or event.source
    return Arrival(record, event, conversation, event_id, source, identity(conversation, source, event_id), headers)


def identity(conversation: str, source: str, event_id: str) -> str:
    """32 hex digits for one event."""
    return blake2b(f"{conversation}\0{source}\0{event_id}".encode(), digest_size=16).hexdigest()
