"""The listener of docs/how-to/move-from-a-bolt-bot.md, as it stands there, before a Bolt and a Slack that note it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-a-bolt-bot.md"


class Bolt:
    """Hands events to whoever listens, as Bolt's decorator has it."""

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[[dict[str, str]], None]] = {}

    def event(self, name: str) -> Callable[[Callable[[dict[str, str]], None]], None]:
        return lambda listener: self.listeners.update({name: listener})


class Kafka:
    """In the place of the gateway's other side."""

    def __init__(self) -> None:
        self.received: list[tuple[str, ...]] = []
        self.is_away = False

    def receive(self, *message: str) -> None:
        if self.is_away:
            raise ConnectionError("Kafka did not take the message")
        self.received.append(message)


class Slack:
    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []

    def chat_postMessage(self, **message: Any) -> None:  # noqa: N802 - Slack's own name
        self.posted.append(message)


@pytest.fixture
def names() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), found)  # the page's own code
    return found


def test_a_thread_is_a_conversation_and_its_reply_goes_back_into_it(names: dict[str, Any]) -> None:
    bolt, kafka, slack = Bolt(), Kafka(), Slack()
    names["listen"](bolt, kafka)
    heard = bolt.listeners["message"]
    heard({"channel": "C1", "ts": "1.5", "user": "U1", "text": "hello"})
    heard({"channel": "C1", "ts": "2.5", "thread_ts": "1.5", "user": "U2", "text": "me too"})
    heard({"channel": "C1", "ts": "3.5", "bot_id": "B1", "text": "our own"})
    heard({"channel": "C1", "ts": "4.5", "subtype": "channel_join", "user": "U3", "text": "joined"})
    assert kafka.received == [("C1:1.5", "1.5", "U1", "hello"), ("C1:1.5", "2.5", "U2", "me too")]
    names["shower"](slack)(conversation_id="C1:1.5", text="hi", idempotency_key="r-1")
    (posted,) = slack.posted
    assert (posted["channel"], posted["thread_ts"], posted["text"]) == ("C1", "1.5", "hi")
    assert posted["metadata"]["event_payload"] == {"reply_id": "r-1"}


def test_what_kafka_does_not_take_is_not_acknowledged(names: dict[str, Any]) -> None:
    bolt, kafka = Bolt(), Kafka()
    names["listen"](bolt, kafka)
    kafka.is_away = True
    with pytest.raises(ConnectionError):
        bolt.listeners["message"]({"channel": "C1", "ts": "1.5", "user": "U1", "text": "hello"})
