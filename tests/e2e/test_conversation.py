"""A real worker process, a real broker, a real model: the demo's dialogue, from event to committed reply."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from ruamel.yaml import YAML

from stream_worker.cache import cache_folder
from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.delta import Delta, DeltaState
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.conversation.state import load_state
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.kafka.gateway import Gateway, Published
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.topic_reader import TopicReader

_DEADLINE_S = 120.0
T = TypeVar("T", Reply, Analysis, Delta, EventMetric)


class Talk:
    """A conversation with the worker, and everything that was published for it."""

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(settings)
        self.gateway.follow()
        self.published: list[Published] = []
        self._said = 0

    def say(self, text: str) -> Reply | None:
        """The reply to a message; None when it ended without one."""
        self._said += 1
        event_id = f"m-{self._said}"
        event = {"conversation_id": "c-1", "message_id": event_id, "sender": {"id": "u-1"}, "text": text}
        self.gateway.send("c-1", event)
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            if (published := self.gateway.receive(0.2)) is not None:
                self.published.append(published)
            metric = next((each for each in self.of(EventMetric) if each.event_id == event_id), None)
            if metric is not None and metric.reply_id is None:
                return None
            reply = next((each for each in self.of(Reply) if event_id in each.in_reply_to), None)
            if metric is not None and reply is not None and self.analysis(reply) is not None:
                return reply
        raise AssertionError(f"nothing came of {event_id}")

    def of(self, kind: type[T]) -> list[T]:
        return [each for each in self.published if isinstance(each, kind)]

    def analysis(self, reply: Reply) -> Analysis | None:
        return next((each for each in self.of(Analysis) if each.turn_id == reply.turn_id), None)


@pytest.fixture
def settings(settings_for: SettingsFor, demo_bot: Path, tmp_path: Path) -> Settings:
    return settings_for(
        instance="0",
        bots=[{"file": str(demo_bot)}],
        conversation={"state_dir": str(tmp_path / "state")},
        observability={"host": "127.0.0.1", "port": 0},
        engine={"dtype": "float32"},
    )


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = tmp_path / "stream-worker.yaml"
    with config.open("w") as out:
        YAML(typ="safe").dump(settings.model_dump(mode="json", exclude_none=True), out)
    child = subprocess.Popen([sys.executable, "-m", "stream_worker", "run", "--config", str(config)])
    yield child
    if child.poll() is None:
        child.kill()
    child.wait()


def test_the_demos_dialogue(settings: Settings, worker: subprocess.Popen[bytes]) -> None:
    talk = Talk(settings)
    beijing = talk.say("What's the weather in Beijing?")
    shanghai = talk.say("What about Shanghai?")
    lamp = talk.say("Turn on the lamp in the kitchen")
    human = talk.say("I want to talk to a human")
    after = talk.say("Hello?")

    assert beijing is not None
    assert shanghai is not None
    assert (beijing.intent, _slots(talk, beijing)) == ("weather", {"location": ("Beijing", False)})
    assert (shanghai.intent, _slots(talk, shanghai)) == ("weather", {"location": ("Shanghai", False)})
    assert lamp is not None
    assert "kitchen" in lamp.text
    assert human is not None
    assert human.intent == "talk_to_human"
    assert after is None, "a human has the conversation"

    reader = TopicReader(settings)
    (command,) = reader.commands
    assert (command["name"], command["arguments"]) == ("light.switch", {"room": "kitchen", "state": "on"})
    _deltas_add_up(talk, [beijing, shanghai])
    _prompt_ids_are_append_only(reader.changelog)
    _only_what_is_new_was_computed(talk)
    reader.close()

    worker.send_signal(signal.SIGTERM)
    eventually(lambda: worker.poll() is not None, 30)
    assert worker.returncode == 0


def _slots(talk: Talk, reply: Reply) -> dict[str, tuple[str, bool]]:
    analysis = talk.analysis(reply)
    assert analysis is not None
    return {slot.name: (slot.value, slot.carried) for slot in analysis.slots}


def _deltas_add_up(talk: Talk, replies: list[Reply]) -> None:
    for reply in replies:
        pieces = [delta for delta in talk.of(Delta) if delta.turn_id == reply.turn_id]
        highest = max((delta.term, delta.attempt) for delta in pieces)
        shown = [delta for delta in pieces if (delta.term, delta.attempt) == highest]
        assert "".join(delta.text for delta in sorted(shown, key=lambda delta: delta.seq)) == reply.text
        assert shown[-1].state is DeltaState.DONE


def _only_what_is_new_was_computed(talk: Talk) -> None:
    first, second = (next(each for each in talk.of(EventMetric) if each.event_id == f"m-{said}") for said in (1, 2))
    # All of the first prompt and of its reply, but for the reply's last id, which was never run, and its end token.
    assert second.tokens.cached >= first.tokens.prompt + first.tokens.generated - 2


def _prompt_ids_are_append_only(changelog: list[tuple[bytes, bytes | None]]) -> None:
    """The ids kept beside two turns: the first one's are a prefix of the second one's, and decode to what was said."""
    tokenizer = load_tokenizer(resolve_model(BUILT_IN, None, cache_folder("models"), lambda _: None).folder)
    states = [load_state(value) for key, value in changelog if key == b"c/c-1" and value is not None]
    first, second = [state for state in states if state.prompt is not None][:2]
    assert first.prompt is not None
    assert second.prompt is not None
    assert second.prompt.ids[: len(first.prompt.ids)] == first.prompt.ids
    whole = tokenizer.decode(second.prompt.ids)
    for line in second.history:
        assert line.text.strip() in whole
