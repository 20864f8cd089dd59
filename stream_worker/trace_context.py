"""The trace of a turn: which ids its spans have, and what its reply carries on. Pure.

Ids follow from the turn, so the reply's header can be written before any span
exists, and an attempt that is repeated after a crash has spans of its own in
the same trace.
"""

from dataclasses import replace
from hashlib import blake2b

from msgspec import Struct

from stream_worker.contracts.headers import InputHeaders
from stream_worker.turn import Turn

_SAMPLED = "01"


class TraceContext(Struct, frozen=True, kw_only=True):
    """W3C: `trace_id` 32 hexadecimal digits, `parent_id` 16 (empty for a trace that begins here), `flags` two."""

    trace_id: str
    parent_id: str
    flags: str

    def traceparent(self, span_id: str) -> str:
        return f"00-{self.trace_id}-{span_id}-{self.flags}"


def read_traceparent(traceparent: str) -> TraceContext | None:
    """None for anything that is no valid `traceparent` of version 00."""
    parts = traceparent.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not set("".join(parts[:4])) <= _DIGITS:
        return None
    _, trace_id, parent_id, flags = parts[:4]
    if set(trace_id) == {"0"} or set(parent_id) == {"0"}:
        return None
    return TraceContext(trace_id=trace_id, parent_id=parent_id, flags=flags)


_DIGITS = frozenset("0123456789abcdef")


def context_of(turn: Turn, *, links: bool) -> TraceContext:
    """The trace that a turn's spans belong to."""
    return own_or_given(read_traceparent(turn.first.headers.traceparent), turn.ref.turn_id, links=links)


def own_or_given(given: TraceContext | None, name: str, *, links: bool) -> TraceContext:
    """The trace of an event: the given one, or its own by its `name` where there is none or it is only linked."""
    if given is not None and not links:
        return given
    return TraceContext(trace_id=_hash(16, name), parent_id="", flags=given.flags if given is not None else _SAMPLED)


def span_id(turn: Turn, name: str) -> str:
    """Of one span of this attempt."""
    return _hash(8, turn.ref.turn_id, str(turn.ref.term), str(turn.ref.attempt), name)


SEND = "send"


def carried_on(turn: Turn, *, links: bool) -> InputHeaders:
    """The headers of what a turn publishes: whoever reads it continues the trace from its `send` span."""
    headers = turn.first.headers
    return replace(headers, traceparent=context_of(turn, links=links).traceparent(span_id(turn, SEND)))


def _hash(size: int, *parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=size).hexdigest()
