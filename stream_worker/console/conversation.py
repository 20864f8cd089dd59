"""One conversation as the topics tell it. Pure.

The records of a turn stand in several topics and come in any order, so every
piece is put where it belongs by its names: a turn by its id, an event by its
offset. Nothing here is the truth; the topics are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_worker.contracts.action import Command
from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.delta import Delta, DeltaState
from stream_worker.contracts.event import Erasure, Message, SenderRole
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.conversation.state import ConversationState, Holder
from stream_worker.outcome import Outcome

MAX_TURNS = 200
_MAX_PREVIEW_CHARS = 100_000


@dataclass(slots=True)
class Turn:
    """What is known of one turn. `began` is when its first record was seen or written, ms since the epoch."""

    turn_id: str
    began: int
    reply: Reply | None = None
    analysis: Analysis | None = None
    metric: EventMetric | None = None
    commands: list[Command] = field(default_factory=list)
    preview: str = ""
    attempt: tuple[int, int] = (0, 0)
    has_gap: bool = False
    is_void: bool = False
    trace_id: str = ""
    """Of the reply's `traceparent`; empty where nothing is traced."""
    sent_at: int | None = None
    """When the reply was put into its transaction, ms since the epoch."""

    @property
    def is_writing(self) -> bool:
        """Its text is still coming."""
        return self.reply is None and self.metric is None and bool(self.preview) and not self.is_void

    @property
    def text(self) -> str:
        return self.reply.text if self.reply is not None else self.preview

    @property
    def outbox_s(self) -> float:
        """How long the reply waited for its transaction."""
        if self.reply is None or self.sent_at is None:
            return 0.0
        return max(0, self.sent_at - self.reply.at) / 1_000

    def take_delta(self, delta: Delta) -> None:
        """A newer attempt replaces what was shown, an older one is nothing; after a gap only the reply helps."""
        attempt = (delta.term, delta.attempt)
        if attempt < self.attempt:
            return
        if attempt > self.attempt:
            self.attempt, self.preview, self.has_gap = attempt, "", False
        self.is_void = delta.state is DeltaState.VOID
        if delta.at != len(self.preview) or len(self.preview) > _MAX_PREVIEW_CHARS:
            self.has_gap = self.has_gap or delta.at > len(self.preview)
            return
        self.preview += delta.text


@dataclass(slots=True)
class Line:
    """An event as it was read, and the turn that it began or was merged into."""

    arrival: Arrival
    turn_id: str
    metric: EventMetric | None = None

    def take(self, metric: EventMetric) -> None:
        """How it ended."""
        self.metric = metric
        self.turn_id = metric.turn_id or self.turn_id

    @property
    def place(self) -> tuple[int, int]:
        return self.arrival.record.partition, self.arrival.record.offset

    @property
    def text(self) -> str:
        event = self.arrival.event
        return event.plain_text if isinstance(event, Message) else str(getattr(event, "text", "") or "")

    @property
    def role(self) -> str:
        event = self.arrival.event
        return event.sender.role.value if isinstance(event, Message) else SenderRole.SYSTEM.value


@dataclass(slots=True)
class Conversation:
    key: str
    lines: dict[tuple[int, int], Line] = field(default_factory=dict)
    """By partition and offset; a key is in one partition, unless two gateways disagree."""
    turns: dict[str, Turn] = field(default_factory=dict)
    touched: int = 0
    """When something of it was written last, ms since the epoch."""
    partition: int | None = None
    holder: Holder = Holder.BOT
    slots: dict[str, str] = field(default_factory=dict)
    erased_at: int = -1
    """Nothing that was written until then is kept, in whatever order it is read."""
    _early: dict[tuple[int, int], EventMetric] = field(default_factory=dict)
    """Outcomes of events that were not read yet."""

    @property
    def bytes(self) -> int:
        """About what it holds in memory."""
        texts = sum(len(line.text) for line in self.lines.values()) + sum(
            len(turn.text) for turn in self.turns.values()
        )
        return 1_000 + 2_000 * (len(self.lines) + len(self.turns)) + 2 * texts

    def take_event(self, arrival: Arrival) -> None:
        record = arrival.record
        self.partition = record.partition
        place = record.partition, record.offset
        if place not in self.lines:
            line = self.lines[place] = Line(arrival, arrival.identity)
            if (metric := self._early.pop(place, None)) is not None:
                line.take(metric)
        if isinstance(arrival.event, Erasure):
            self._erase(record.timestamp_ms)
        self._touch(record.timestamp_ms)
        self._bound()

    def take_metric(self, metric: EventMetric) -> None:
        place = metric.partition, metric.offset
        if (line := self.lines.get(place)) is not None:
            line.take(metric)
        else:
            self._early[place] = metric
        if metric.turn_id is not None and (metric.reply_id is not None or metric.outcome is not Outcome.MERGED):
            turn = self.turn(metric.turn_id, metric.at)
            # Tokens and times of a turn stand on its first event.
            if turn.metric is None or metric.outcome is not Outcome.MERGED:
                turn.metric = metric
        self._touch(metric.at)

    def take_state(self, state: ConversationState) -> None:
        self.holder, self.slots = state.holder, {}
        for dialogue in state.dialogues.values():
            # The active intent's of each sender, who spoke last comes last.
            self.slots |= dialogue.frames[-1].slots if dialogue.frames else {}

    def take_reply(self, reply: Reply, trace_id: str = "", sent_at: int | None = None) -> None:
        turn = self.turn(reply.turn_id, reply.at)
        turn.reply, turn.trace_id, turn.sent_at = reply, trace_id, sent_at
        self._touch(reply.at)

    def take_analysis(self, analysis: Analysis) -> None:
        self.turn(analysis.turn_id, analysis.at).analysis = analysis

    def take_delta(self, delta: Delta, at: int) -> None:
        self.turn(delta.turn_id, at).take_delta(delta)
        self._touch(at)

    def take_command(self, command: Command) -> None:
        commands = self.turn(command.turn_id, command.at).commands
        if command.command_id not in {each.command_id for each in commands}:
            commands.append(command)

    def turn(self, turn_id: str, at: int) -> Turn:
        found = self.turns.get(turn_id)
        if found is None:
            found = self.turns[turn_id] = Turn(turn_id, at)
            self._bound()
        return found

    @property
    def waiting_since(self) -> int | None:
        """When the oldest message without an outcome was written."""
        waiting = [
            line.arrival.record.timestamp_ms
            for line in self.lines.values()
            if line.metric is None and line.role == SenderRole.USER
        ]
        return min(waiting, default=None)

    @property
    def last_analysis(self) -> Analysis | None:
        found = [turn.analysis for turn in self.turns.values() if turn.analysis is not None]
        return max(found, key=lambda each: each.at, default=None)

    @property
    def last_outcome(self) -> Outcome | None:
        found = [line.metric for line in self.lines.values() if line.metric is not None]
        found += [turn.metric for turn in self.turns.values() if turn.metric is not None]
        return max(found, key=lambda each: each.at).outcome if found else None

    @property
    def last_text(self) -> str:
        texts = [(line.arrival.record.timestamp_ms, line.text) for line in self.lines.values() if line.text]
        texts += [(turn.began, turn.text) for turn in self.turns.values() if turn.text]
        return max(texts, default=(0, ""))[1]

    @property
    def senders(self) -> set[str]:
        events = (line.arrival.event for line in self.lines.values())
        return {event.sender.id for event in events if isinstance(event, Message)}

    def transcript(self) -> Iterator[Line | Turn]:
        """Events in the order of the topic, each turn after its last event."""
        last_of = {line.turn_id: place for place, line in sorted(self.lines.items())}
        for turn in sorted(self.turns.values(), key=lambda each: each.began):
            if turn.turn_id not in last_of:
                # Its events were written before the window.
                yield turn
        for place, line in sorted(self.lines.items()):
            yield line
            if last_of[line.turn_id] == place and (turn_of := self.turns.get(line.turn_id)) is not None:
                yield turn_of

    def _erase(self, at: int) -> None:
        self.erased_at = at
        self.slots = {}
        self.lines = {place: line for place, line in self.lines.items() if line.arrival.record.timestamp_ms > at}
        self.turns = {name: turn for name, turn in self.turns.items() if turn.began > at}

    def _touch(self, at: int) -> None:
        self.touched = max(self.touched, at)

    def _bound(self) -> None:
        while len(self.lines) > 2 * MAX_TURNS:
            del self.lines[min(self.lines)]
        while len(self._early) > 2 * MAX_TURNS:
            del self._early[next(iter(self._early))]
        while len(self.turns) > MAX_TURNS:
            del self.turns[min(self.turns, key=lambda each: self.turns[each].began)]
