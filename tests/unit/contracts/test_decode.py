"""Whatever stands in the topic becomes an event or a dead letter with a reason; nothing stops the worker."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.contracts.event import EVENT_TYPES, Deletion, Message
from stream_worker.contracts.examples import EVENTS
from stream_worker.contracts.headers import STRUCTURED, InputHeaders
from stream_worker.outcome import DeadLetterReason
from stream_worker.record import Headers, Record

RULES = DecodeRules(max_text_chars=2_000_000)
LEAST = {"conversation_id": "c-1", "sender": {"id": "u-1"}}
CANARY = "canary-93ab"
COORDINATES = "chat.events/3/17"


def record(value: bytes | None, *, key: bytes | None = b"c-1", headers: Headers = (), readable: bool = True) -> Record:
    return Record("chat.events", 3, 17, 1_790_000_000_000, key, value, headers, readable)


def event(**fields: Any) -> bytes:
    return orjson.dumps({**LEAST, **fields})


def said(text: str) -> bytes:
    return event(text=text)


def nested(depth: int) -> bytes:
    return (
        b'{"conversation_id":"c-1","type":"trigger","name":"x","arguments":{"a":' + b"[" * depth + b"]" * depth + b"}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "What's the weather in Beijing?",
        "北京的天气怎么样?",
        "ما هو الطقس في بكين؟",
        "מה מזג האוויר?",
        "Τι καιρό κάνει;",
        "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
        "e\u0301 \u202eright to left\u202c",
        "before\x00after",
        "",
        " \t\n",
        "x" * 1_000_000,
        "\ufeff\ufffd\uffff\U0010ffff",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_any_text_arrives_as_it_was_written(text: str) -> None:
    found = decode(record(said(text)), RULES)
    assert isinstance(found, Arrival)
    assert isinstance(found.event, Message)
    assert found.event.plain_text == text


R = DeadLetterReason


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param(record(said("x"), key=None), R.NO_KEY, id="no key"),
        pytest.param(record(said("x"), key=b"c-2"), R.WRONG_KEY, id="wrong key"),
        pytest.param(record(said("x"), key=b"\xff"), R.INVALID_HEADERS, id="key in another encoding"),
        pytest.param(record(None), R.NO_VALUE, id="no value"),
        pytest.param(record(b""), R.INVALID_JSON, id="empty value"),
        pytest.param(record("Müller".encode("latin-1")), R.INVALID_ENCODING, id="latin-1"),
        pytest.param(record(said("x").decode().encode("utf-16")), R.INVALID_ENCODING, id="utf-16"),
        pytest.param(record(b'{"conversation_id":'), R.INVALID_JSON, id="cut"),
        pytest.param(record(rb'{"text":"\ud800"}'), R.INVALID_JSON, id="lone surrogate"),
        pytest.param(record(b"[" * 100_000), R.INVALID_JSON, id="nests deep without end"),
        pytest.param(record(b"[" * 5_000 + b"]" * 5_000), R.INVALID_JSON, id="nests too deep to read"),
        pytest.param(record(nested(800)), R.INVALID_EVENT, id="nests too deep to write"),
        pytest.param(record(b"[1]"), R.INVALID_EVENT, id="a list"),
        pytest.param(record(b"NaN"), R.INVALID_JSON, id="NaN"),
        pytest.param(record(event(type="message")), R.INVALID_EVENT, id="neither text nor content"),
        pytest.param(record(event(text="x", content=[])), R.INVALID_EVENT, id="text and content"),
        pytest.param(record(event(text=7)), R.INVALID_EVENT, id="text is a number"),
        pytest.param(record(event(text="x", sent_at="now")), R.INVALID_EVENT, id="time is a text"),
        pytest.param(record(event(text="x", sent_at=2**63)), R.INVALID_EVENT, id="time is too large"),
        pytest.param(record(event(text="x", sender="u-1")), R.INVALID_EVENT, id="sender is a text"),
        pytest.param(record(event(text="x", metadata={"a": "b" * 5_000})), R.INVALID_EVENT, id="metadata too large"),
        pytest.param(record(event(content=[{"type": "video"}])), R.INVALID_EVENT, id="unknown part"),
        pytest.param(record(event(text="x", tenant="a/b")), R.INVALID_EVENT, id="a slash in the tenant"),
        pytest.param(record(event(type="presence")), R.UNKNOWN_TYPE, id="unknown type"),
        pytest.param(record(event(type=["message"])), R.UNKNOWN_TYPE, id="type is a list"),
        pytest.param(
            record(said("x"), headers=(("content-type", b"text/plain"),)), R.UNSUPPORTED_CONTENT_TYPE, id="text/plain"
        ),
        pytest.param(record(said("x"), headers=(("ce_id", b"\xff"),)), R.INVALID_HEADERS, id="header in latin-1"),
        *(
            pytest.param(record(said("x"), headers=((name, b"x" * 513),)), R.INVALID_HEADERS, id=f"{name} too long")
            for name in ("ce_id", "ce_source", "ce_type", "traceparent", "tracestate", "redrive")
        ),
        pytest.param(record(said("x"), readable=False), R.INVALID_HEADERS, id="header's name in latin-1"),
    ],
)
def test_what_is_no_event_has_a_reason_and_the_content_stays_out_of_it(
    broken: Record, reason: DeadLetterReason
) -> None:
    found = decode(broken, RULES)
    assert isinstance(found, Undecodable), found
    assert found.reason is reason
    assert found.detail


def test_a_text_beyond_the_limit_is_too_large() -> None:
    rules = replace(RULES, max_text_chars=10)
    found = decode(record(said("x" * 11)), rules)
    assert isinstance(found, Undecodable)
    assert found.reason is DeadLetterReason.TOO_LARGE
    assert isinstance(decode(record(said("x" * 10)), rules), Arrival)


def test_with_tenants_the_key_names_the_tenant_too() -> None:
    rules = replace(RULES, tenants=True)
    found = decode(record(event(text="x", tenant="acme"), key=b"acme/c-1"), rules)
    assert isinstance(found, Arrival)
    assert found.conversation == "acme/c-1"
    missing = decode(record(said("x"), key=b"/c-1"), rules)
    assert isinstance(missing, Undecodable)
    assert missing.reason is DeadLetterReason.NO_TENANT


def test_a_wrong_key_may_be_allowed_and_then_the_value_counts() -> None:
    found = decode(record(said("x"), key=b"c-2"), replace(RULES, wrong_key_allowed=True))
    assert isinstance(found, Arrival)
    assert found.conversation == "c-1"


@pytest.mark.parametrize("fields", EVENTS, ids=lambda fields: str(fields.get("type", "least")))
def test_every_example_arrives(fields: Mapping[str, object]) -> None:
    found = decode(record(orjson.dumps(fields), key=str(fields["conversation_id"]).encode()), RULES)
    assert isinstance(found, Arrival)
    assert found.event.type == fields.get("type", "message")


def test_unknown_fields_are_ignored() -> None:
    assert isinstance(decode(record(event(text="x", gateway_shard=4)), RULES), Arrival)


def test_an_event_without_an_id_is_named_by_its_coordinates() -> None:
    found = decode(record(said("x")), RULES)
    assert isinstance(found, Arrival)
    assert found.event_id == COORDINATES


BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_type", b"com.example.chat.deletion"),
    ("ce_source", b"/gateway"),
    ("content-type", b"application/json; charset=utf-8"),
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("theirs", None),
    ("binary", b"\xff\xfe"),
)


def test_a_binary_cloud_event_is_read_from_its_headers() -> None:
    found = decode(record(event(target_id="m-1"), headers=BINARY), RULES)
    assert isinstance(found, Arrival)
    assert isinstance(found.event, Deletion)
    assert (found.event_id, found.source) == ("e-1", "/gateway")
    assert found.headers.traceparent.startswith("00-0af7")


def structured(**envelope: object) -> Record:
    attributes = {"specversion": "1.0", "id": "e-1", "source": "/gateway", "type": "com.example.chat.deletion"}
    return record(orjson.dumps(attributes | envelope), headers=(("content-type", STRUCTURED.encode()),))


def test_a_structured_cloud_event_is_read_from_its_value() -> None:
    found = decode(structured(data={**LEAST, "target_id": "m-1"}), RULES)
    assert isinstance(found, Arrival)
    assert isinstance(found.event, Deletion)
    assert (found.event_id, found.source) == ("e-1", "/gateway")


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        ({}, R.INVALID_EVENT),
        ({"data": "text"}, R.INVALID_EVENT),
        ({"data": LEAST, "id": 7}, R.INVALID_HEADERS),
        ({"data": LEAST, "source": "x" * 513}, R.INVALID_HEADERS),
    ],
)
def test_a_structured_cloud_event_that_is_none_is_a_dead_letter(
    envelope: dict[str, object], reason: DeadLetterReason
) -> None:
    found = decode(structured(**envelope), RULES)
    assert isinstance(found, Undecodable)
    assert found.reason is reason


def test_metadata_that_arrives_can_be_written_into_a_reply() -> None:
    arrived = 0
    for depth in range(240, 256):
        inner = b'{"a":' * depth + b"1" + b"}" * depth
        value = b'{"conversation_id":"c-1","sender":{"id":"u"},"text":"x","metadata":' + inner + b"}"
        found = decode(record(value), RULES)
        if isinstance(found, Arrival):
            arrived += 1
            orjson.dumps({"metadata": found.event.metadata})
    assert arrived


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "type",
        "conversation_id",
        "tenant",
        "text",
        "content",
        "sender",
        "metadata",
        "sent_at",
        "score",
        "target_id",
        "id",
    ]
)
types = st.sampled_from([*EVENT_TYPES, "other"])
almost_events = st.dictionaries(field_names, json_values, max_size=6).flatmap(
    lambda fields: types.map(lambda type_: {**LEAST, "type": type_, **fields})
)
header_lists = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_type", "ce_source", "content-type", "traceparent", "redrive", "x"]),
        st.none() | st.binary(max_size=12) | st.sampled_from([b"application/json", STRUCTURED.encode()]),
    ),
    max_size=4,
).map(tuple)


@pytest.mark.fuzz
@given(
    key=st.none() | st.binary(max_size=8) | st.just(b"c-1"),
    value=st.none() | st.binary(max_size=64) | almost_events.map(lambda fields: orjson.dumps(fields, default=str)),
    headers=header_lists,
    tenants=st.booleans(),
)
@example(key=b"c-1", value=nested(300), headers=(), tenants=False)
def test_no_bytes_raise(key: bytes | None, value: bytes | None, headers: Headers, tenants: bool) -> None:
    found = decode(record(value, key=key, headers=headers), DecodeRules(tenants=tenants))
    assert isinstance(found, Arrival | Undecodable)
    if isinstance(found, Arrival):
        orjson.dumps(found.event)
        assert isinstance(found.headers, InputHeaders)


@given(fields=st.dictionaries(field_names, st.just(CANARY) | st.just([CANARY]) | st.just({CANARY: 1}), min_size=1))
def test_the_reason_never_repeats_the_content(fields: dict[str, object]) -> None:
    found = decode(record(orjson.dumps(LEAST | fields)), RULES)
    if isinstance(found, Undecodable):
        assert CANARY not in found.detail


def test_the_reason_never_repeats_the_type_of_a_part() -> None:
    found = decode(record(event(content=[{"type": CANARY}])), RULES)
    assert isinstance(found, Undecodable)
    assert CANARY not in found.detail
    assert "content" in found.detail
