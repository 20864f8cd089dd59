"""pytest fixtures for users' bots: the same worker on the in-memory edge, with a clock of its own.

In `conftest.py`: `pytest_plugins = ["stream_worker.testing"]`. The bot is that of the folder where pytest was started,
unless the fixture `bot_folder` says otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream_worker.clock import ManualClock
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.golden.conversation import AnswerFile
from stream_worker.golden.seen import Seen
from stream_worker.golden.stage import Stage
from stream_worker.golden.suite import Suite


class BotUnderTest:
    """A bot to talk to. Each has a conversation of its own."""

    def __init__(self, stage: Stage, conversation: str) -> None:
        self._stage = stage
        self.conversation = conversation
        self._calls = len(stage.calls)

    @property
    def clock(self) -> ManualClock:
        return self._stage.clock

    def script(self, *replies: str) -> None:
        """What the scripted model says next, in turn."""
        self._stage.script(replies)

    def answer_calls(self, **answers: object) -> None:
        """What each call finds out from now on, by its name."""
        self._stage.caller.play({name: (AnswerFile(result=answer),) for name, answer in answers.items()})

    def say(self, text: str, *more: str, sender: str = "user", **fields: Any) -> Seen:
        """One message, or several in a row; what came of them when all of it has settled."""
        for each in (text, *more):
            self._stage.send(self.conversation, {"sender": {"id": sender}, "text": each, **fields})
        return self._seen()

    def send(self, type: str, **fields: Any) -> Seen:
        """An event of another type, such as `handoff` or `trigger`."""
        self._stage.send(self.conversation, {"type": type, **fields})
        return self._seen()

    def wait(self, seconds: float) -> None:
        """Lets time pass at once."""
        self._stage.wait(seconds)

    def _seen(self) -> Seen:
        self._stage.settle()
        topics = self._stage.settings.topics
        replies, analyses, commands = (
            tuple(_of(self.conversation, self._stage.fresh(topic)))
            for topic in (topics.replies, topics.analysis, topics.actions)
        )
        calls, self._calls = self._stage.calls[self._calls :], len(self._stage.calls)
        actions = [(call.name, dict(call.parameters)) for call in calls]
        actions += [(command["name"], command["arguments"]) for command in commands]
        human = self._stage.is_with_human(self.conversation)
        return Seen(replies=replies, analyses=analyses, actions=tuple(actions), human=human)


def _of(conversation: str, values: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (value for value in values if value["conversation_id"] == conversation)


@pytest.fixture(scope="session")
def bot_folder() -> Path:
    """The folder with `bot.yaml`; override it for another one."""
    return Path.cwd()


@pytest.fixture(scope="session")
def bot_suite(bot_folder: Path) -> Iterator[Suite]:
    """The bot's worker, set up once for all tests."""
    suite = Suite(bot_folder, lambda _: None)
    yield suite
    suite.save()


@pytest.fixture
def bot(bot_suite: Suite, request: pytest.FixtureRequest) -> BotUnderTest:
    """A bot with a new conversation."""
    return BotUnderTest(bot_suite.stage, f"{request.node.nodeid}")


@pytest.fixture
def broker(bot_suite: Suite) -> MemoryBroker:
    """The Kafka in memory that the bot's worker is on: `broker.read_committed(topic)`."""
    return bot_suite.stage.broker
