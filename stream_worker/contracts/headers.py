"""CloudEvents 1.0 Kafka binding, binary mode, and trace context.

On input all are optional; on output always written. `traceparent` of the
event is carried through the turn to every record that comes of it.
"""

from dataclasses import dataclass

from stream_worker.record import Headers

CONTENT_TYPE = "content-type"
JSON = "application/json"
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


def read_headers(headers: Headers) -> InputHeaders:
    """Raises UnicodeDecodeError when one of the headers we read is not UTF-8."""
    if not headers:
        return _NONE
    found = {
        field: value.decode()
        for name, value in headers
        if value is not None and (field := _FIELDS.get(name)) is not None
    }
    return InputHeaders(**found) if found else _NONE


def output_headers(*, event_id: str, type_: str, source: str, at: str, traceparent: str, tracestate: str) -> Headers:
    """CloudEvents attributes of a record of ours; `at` is RFC 3339."""
    headers: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", type_.encode()),
        ("ce_source", source.encode()),
        ("ce_time", at.encode()),
        (CONTENT_TYPE, JSON.encode()),
    )
    if traceparent:
        headers += (("traceparent", traceparent.encode()),)
        if tracestate:
            headers += (("tracestate", tracestate.encode()),)
    return headers
