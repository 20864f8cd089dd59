"""Plays golden conversations on a stage, step by step, and looks at what came of each `expect`."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_worker.golden.conversation import Golden, StepFile
from stream_worker.golden.seen import Difference, Judge, Seen, differences
from stream_worker.golden.stage import Fields, NotSettled, Stage


@dataclass(frozen=True, slots=True)
class Looked:
    """One `expect`: the number of its step, from 0, what was said last, what was seen, what was wrong."""

    step: int
    said: str
    seen: Seen
    differences: tuple[Difference, ...]


@dataclass(slots=True)
class Played:
    """A conversation that was played to its end, or as far as it came."""

    golden: Golden
    looks: list[Looked] = field(default_factory=list)
    stuck: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.stuck and all(not look.differences for look in self.looks)


def play(stage: Stage, golden: Golden, name: str, judge: Judge | None = None) -> Played:
    """Plays one conversation under the id `name`, which no other may have on this stage."""
    return _Play(stage, golden, name, judge).run()


class _Play:
    def __init__(self, stage: Stage, golden: Golden, name: str, judge: Judge | None) -> None:
        self._stage = stage
        self._golden = golden
        self._name = name
        self._judge = judge
        self._ids: dict[str, str] = {}
        self._last = ""
        self._said = ""
        self._calls = len(stage.calls)

    def run(self) -> Played:
        played = Played(self._golden)
        file = self._golden.file
        self._stage.script(file.model)
        self._stage.caller.play(file.actions)
        self._look()
        try:
            for number, step in enumerate(file.steps):
                if step.expect is not None:
                    self._stage.settle()
                    seen = self._look()
                    found = tuple(differences(step.expect, seen, self._judge))
                    played.looks.append(Looked(number, self._said, seen, found))
                elif step.wait is not None:
                    self._stage.wait(step.wait)
                else:
                    self._send(step)
            self._stage.settle()
        except NotSettled as error:
            played.stuck = str(error)
        return played

    def _send(self, step: StepFile) -> None:
        for fields in self._events(step):
            event_id = self._stage.send(self._name, {**self._place(), **fields})
            if fields.get("type", "message") == "message":
                self._last = event_id
            if step.id is not None:
                self._ids[step.id] = event_id
        if step.user is not None:
            self._said = step.user

    def _events(self, step: StepFile) -> Iterator[Fields]:
        sender = {"id": f"{self._name}/{step.sender}", "name": step.sender}
        if step.user is not None:
            yield {"sender": sender, "text": step.user}
        elif step.human is not None:
            yield {"sender": {"id": "agent", "role": "agent"}, "text": step.human}
        elif step.edit is not None:
            yield {"type": "edit", "sender": sender, "target_id": self._target(step.edit.of), "text": step.edit.text}
        elif step.delete is not None:
            yield {"type": "deletion", "sender": sender, "target_id": self._target(step.delete)}
        elif step.trigger is not None:
            yield {"type": "trigger", "name": step.trigger.name, "arguments": step.trigger.arguments}
        else:
            yield {"type": step.kinds[0]}

    def _target(self, name: str | None) -> str:
        return self._last if name in (None, "last") else self._ids.get(str(name), str(name))

    def _place(self) -> Fields:
        file = self._golden.file
        return {key: value for key, value in (("channel", file.channel), ("tenant", file.tenant)) if value}

    def _look(self) -> Seen:
        """What was published since the last look, of this conversation."""
        stage, topics = self._stage, self._stage.settings.topics
        replies, analyses, commands = (
            tuple(value for value in stage.fresh(topic) if value["conversation_id"] == self._name)
            for topic in (topics.replies, topics.analysis, topics.actions)
        )
        calls, self._calls = stage.calls[self._calls :], len(stage.calls)
        troubles, stage.observer.troubles = tuple(stage.observer.troubles), []
        return Seen(
            replies=replies,
            analyses=analyses,
            actions=(
                *((call.name, dict(call.parameters) | {"url": call.url}) for call in calls),
                *((command["name"], command["arguments"]) for command in commands),
            ),
            human=stage.is_with_human(self._name),
            troubles=troubles,
        )
