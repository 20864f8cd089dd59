"""Headers are CloudEvents that the SDK reads, and the SDK's are read by us."""

from datetime import UTC, datetime

from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_binary_event,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent

from stream_worker.contracts.decode import Arrival, DecodeRules, decode
from stream_worker.contracts.headers import InputHeaders, common_headers, output_headers, read_headers
from stream_worker.record import Record

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DATA = {"conversation_id": "c-1", "sender": {"id": "u-1"}, "text": "Grüße 👋"}


def cloud_event() -> CloudEvent:
    attributes = {
        "id": "e-1",
        "source": "/gateway",
        "type": "com.example.chat.message",
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "time": datetime(2026, 10, 1, tzinfo=UTC),
    }
    return CloudEvent(attributes, DATA)


def received(message: KafkaMessage) -> Arrival:
    record = Record("chat.events", 0, 0, 0, b"c-1", message.value, tuple(message.headers.items()))
    found = decode(record, DecodeRules())
    assert isinstance(found, Arrival), found
    return found


def test_the_sdk_reads_what_we_write() -> None:
    common = common_headers(type_="reply", source="stream_worker/shop", at="2026-10-01T00:00:00Z")
    headers = output_headers(common, "r-1", InputHeaders(traceparent=TRACE, tracestate="a=b"))
    values = {name: value for name, value in headers if value is not None}
    assert values["traceparent"].decode() == TRACE
    read = from_binary_event(KafkaMessage(headers=values, key=b"c-1", value=b'{"text":"hi"}'))
    assert (read.get_id(), read.get_type(), read.get_source()) == ("r-1", "reply", "stream_worker/shop")
    assert read.get_specversion() == "1.0"
    assert read.get_datacontenttype() == "application/json"
    assert read.get_time() == datetime(2026, 10, 1, tzinfo=UTC)
    assert read.get_data() == {"text": "hi"}


def test_we_read_what_the_sdk_writes_in_both_modes() -> None:
    for message in (to_binary_event(cloud_event()), to_structured_event(cloud_event())):
        found = received(message)
        assert (found.event_id, found.source, found.event.type) == ("e-1", "/gateway", "message")
        assert getattr(found.event, "text", None) == DATA["text"]
    assert from_structured_event(to_structured_event(cloud_event())).get_id() == "e-1"


def test_trace_context_survives_the_round_trip() -> None:
    headers = output_headers((), "r", InputHeaders(traceparent=TRACE, tracestate="k=v"))
    read = read_headers(headers)
    assert (read.traceparent, read.tracestate, read.id) == (TRACE, "k=v", "r")


def test_a_trace_state_without_its_trace_is_not_passed_on() -> None:
    assert output_headers((), "r", InputHeaders(tracestate="k=v")) == (("ce_id", b"r"),)
