"""CloudEvents 1.0 Kafka binding, and trace context.

Binary mode is read and always written; structured mode, where the attributes
stand beside the event in the value, is read. On input all are optional. `traceparent` of the
event is carried through the turn to every record that comes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stream_worker.record import Headers

CONTENT_TYPE = "content-type"
JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
SPEC_VERSION = "1.0"
REDRIVE = "redrive"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputHeaders:
    """What we read of an event's headers; empty where absent."""

    id: str = ""
    source: str = ""
    type: str = ""
    content_type: str = ""
    spec_version: str = ""
    traceparent: str = ""
    tracestate: str = ""
    redrive: str = ""


_FIELDS = {
    "ce_id": "id",
    "ce_source": "source",
    "ce_type": "type",
    "content-type": "content_type",
    "ce_specversion": "spec_version",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
    REDRIVE: "redrive",
}
_NONE = InputHeaders()

#: What we read of headers is copied to what we write; so it is as short as an identifier.
MAX_HEADER_CHARS = 512


def read_headers(headers: Headers) -> InputHeaders:
    """Raises ValueError when one of the headers we read is not UTF-8, or longer than `MAX_HEADER_CHARS`."""
    if not headers:
        return _NONE
    found = {
        field: _text(name, value)
        for name, value in headers
        if value is not None and (field := _FIELDS.get(name)) is not None
    }
    return InputHeaders(**found) if found else _NONE


def _text(name: str, value: bytes) -> str:
    try:
        return _bounded(name, value.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"the header {name} is not UTF-8") from error


def _bounded(name: str, text: str) -> str:
    if len(text) > MAX_HEADER_CHARS:
        raise ValueError(f"{name} is longer than {MAX_HEADER_CHARS} characters")
    return text


#: Attributes of a structured CloudEvent that we read, and extensions of distributed tracing.
_ATTRIBUTES = ("id", "source", "type", "traceparent", "tracestate")


def read_envelope(envelope: Mapping[str, object], headers: InputHeaders) -> InputHeaders:
    """The attributes of a structured CloudEvent over those of the record's headers. Raises ValueError."""
    found: dict[str, str] = {}
    for name in _ATTRIBUTES:
        value = envelope.get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"the CloudEvent's {name} is not a string")
        if value:
            found[name] = _bounded(f"the CloudEvent's {name}", value)
    return replace(headers, **found)


def common_headers(*, type_: str, source: str, at: str) -> Headers:
    """The CloudEvents attributes that records of one kind share at one instant; `at` is RFC 3339."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", type_.encode()),
        ("ce_source", source.encode()),
        ("ce_time", at.encode()),
        (CONTENT_TYPE, JSON.encode()),
    )


def output_headers(common: Headers, event_id: str, of: InputHeaders) -> Headers:
    """The headers of one record that came of an event with the headers `of`."""
    headers: Headers = (("ce_id", event_id.encode()), *common)
    if of.traceparent:
        headers += (("traceparent", of.traceparent.encode()),)
        if of.tracestate:
            headers += (("tracestate", of.tracestate.encode()),)
    return headers
