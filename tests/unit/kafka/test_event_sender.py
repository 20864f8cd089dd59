"""What cannot be sent is an error of ours. The client is real; no broker is asked."""

import pytest

from stream_worker.errors import Code, Fatal
from stream_worker.kafka import event_sender
from stream_worker.kafka.event_sender import EventSender
from stream_worker.settings import Settings


def test_an_event_that_the_client_does_not_take_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sender, "partitions_of", lambda _client, _topic: [0])
    sender = EventSender(Settings(kafka={"client": {"log_level": 0}}))  # type: ignore[arg-type]  # as from a file
    with pytest.raises(Fatal, match="too large") as refused:
        sender.send("c-1", {"text": "x" * 2_000_000})
    assert refused.value.code is Code.RECORD_REFUSED
