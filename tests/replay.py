"""What a worker must have made of its events, recomputed from what was committed. Pure.

The scripted engine's reply is a function of the prompt, hence of all that was said before. So each committed reply
says what the conversation was when it was made: one that was made of a reply that was aborted, lost or repeated
differs. The records of `chat.metrics` are the order in which a conversation's events settled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from stream_worker.bot.bot import Bot
from stream_worker.contracts.decode import identity
from stream_worker.conversation.deduplication import digest
from stream_worker.conversation.dialogue import Dialogue
from stream_worker.conversation.state import (
    EMPTY,
    Bounds,
    Change,
    ConversationState,
    HeldBy,
    Holder,
    Line,
    Remembered,
    Said,
    Speaker,
    apply,
)
from stream_worker.inference.scripted import derived_reply
from stream_worker.orders import Encoded, Generate, TurnRef
from stream_worker.outcome import FinishReason
from stream_worker.stages.dialogue import Heard, conclude, plan
from stream_worker.stages.handoff import GIVEN_BACK, TAKEN_OVER, note
from stream_worker.stages.parsing import parser_for
from stream_worker.stages.prompter import MessagePrompter
from stream_worker.tokens import Sampling

Value = Mapping[str, Any]
Place = tuple[int, int]
"""Partition and offset."""

_REF = TurnRef(0, 0, "", 0)
_NO_TIME = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`understand` is what stands for the encoder, None for a bot without one."""

    bot: Bot
    dedup_window: int
    understand: Callable[[str], Encoded] | None = None

    def check(
        self,
        events: Mapping[str, Value],
        metrics: Sequence[Value],
        replies: Sequence[Value],
        states: Mapping[str, ConversationState],
    ) -> None:
        """Every reply follows from what was committed before it, and so does every conversation's last state.

        `events` by id; `states` are the last ones in the changelog. Raises AssertionError with what differs.
        """
        by_turn = {reply["turn_id"]: reply for reply in replies if reply["finish_reason"] != FinishReason.FALLBACK}
        by_conversation: dict[str, list[Value]] = {}
        for metric in metrics:
            by_conversation.setdefault(metric["conversation_id"], []).append(metric)
        for conversation, settled in by_conversation.items():
            replayed = _Replayed(self, conversation)
            for together in _settlements(settled):
                found = [(events[metric["event_id"]], metric["outcome"]) for metric in together]
                replayed.settle(found, by_turn.get(together[0]["turn_id"]))
            _compare(conversation, replayed.state, states.get(conversation, EMPTY))


def _settlements(metrics: Sequence[Value]) -> Iterator[list[Value]]:
    """The events of a turn settle together, and stand one after the other."""
    for turn, together in groupby(metrics, lambda metric: metric["turn_id"]):
        if turn is None:
            yield from ([metric] for metric in together)
        else:
            yield list(together)


@dataclass(slots=True)
class _Replayed:
    """One conversation, as far as it has been replayed."""

    rules: Replay
    conversation: str
    state: ConversationState = field(default=EMPTY)

    def settle(self, found: Sequence[tuple[Value, str]], reply: Value | None) -> None:
        outcomes = {outcome for _, outcome in found}
        events = [event for event, outcome in found if outcome in ("replied", "merged")]
        if "replied" in outcomes:
            assert reply is not None, f"a turn of {self.conversation} was replied to without a reply"
            self._answer(events, reply)
            return
        for event, outcome in found:
            match outcome:
                case "silent":
                    self._notice(event)
                case "withdrawn":
                    self._apply(Said((_line(event),)), self._remembered([event]))
                case _:
                    pass  # a dead letter, or one too many: the conversation does not know of it

    def _answer(self, events: Sequence[Value], reply: Value) -> None:
        assert self.state.holder is Holder.BOT, f"{reply['reply_id']} was given while a human had {self.conversation}"
        assert reply["in_reply_to"] == [event["message_id"] for event in events], f"{reply['reply_id']} answers others"
        said, text = tuple(_line(event) for event in events), "\n".join(event["text"] for event in events)
        understand, bot = self.rules.understand, self.rules.bot
        heard = Heard(
            text=text,
            language=parser_for(bot.languages).parse(text).language,
            understanding=understand(text) if understand else None,
            sender_id=events[0]["sender"]["id"],
        )
        decision = conclude(plan(bot, self.state, heard), {})
        prompt = MessagePrompter().prepare(bot.system, self.state, said).prompt
        order = Generate(ref=_REF, conversation="", prompt=prompt, sampling=Sampling(), seed=0, cache_scope="")
        expected = derived_reply(order)
        assert reply["text"] == expected, (
            f"{reply['reply_id']} of {self.conversation} does not follow from what was said"
        )
        answer = Line(Speaker.BOT, expected, reply["reply_id"], _NO_TIME)
        self._apply(Said((*said, answer)), *decision.changes, self._remembered(events))

    def _notice(self, event: Value) -> None:
        """An event that nobody answers."""
        human, remembered = self.state.holder is Holder.HUMAN, self._remembered([event])
        match event.get("type", "message"):
            case "handoff":
                noted = () if human else (Said((note(TAKEN_OVER, _NO_TIME),)),)
                self._apply(*noted, HeldBy(Holder.HUMAN), remembered, bounded=False)
            case "handback":
                noted = (Said((note(GIVEN_BACK, _NO_TIME),)),) if human else ()
                self._apply(*noted, HeldBy(Holder.BOT), remembered, bounded=False)
            case "message" if event["sender"].get("role") == "agent":
                self._apply(Said((_line(event, Speaker.AGENT),)), remembered, bounded=False)
            case "message":
                assert human, f"nobody answered {event['message_id']}, and no human has {self.conversation}"
                self._apply(Said((_line(event),)), remembered)
            case other:
                raise AssertionError(f"the replay knows no {other}")

    def _apply(self, *changes: Change, bounded: bool = True) -> None:
        """What is nobody's turn bounds no history."""
        most = self.rules.bot.max_messages if bounded else None
        self.state = apply(self.state, changes, Bounds(max_messages=most, dedup_window=self.rules.dedup_window))

    def _remembered(self, events: Sequence[Value]) -> Remembered:
        return Remembered(tuple(digest(identity(self.conversation, "", event["message_id"])) for event in events))


def _line(event: Value, speaker: Speaker = Speaker.USER) -> Line:
    return Line(speaker, event["text"], event["message_id"], _NO_TIME)


def _compare(conversation: str, expected: ConversationState, found: ConversationState) -> None:
    """Everything but the times, and ids of the reply that the window and the history name alike."""
    assert found.turns == expected.turns, f"state lost: {conversation} has {found.turns} turns, not {expected.turns}"
    assert _history(found) == _history(expected), f"state differs: {conversation} remembers other things said"
    assert found.holder is expected.holder, f"state differs: {conversation} is the {found.holder}'s"
    assert found.remembered == expected.remembered, f"state differs: {conversation} has another window of ids"
    assert _dialogues(found) == _dialogues(expected), f"state differs: {conversation} has other slots"


def _history(state: ConversationState) -> list[tuple[str, str, str]]:
    return [(line.speaker.value, line.text, line.event_id) for line in state.history]


def _dialogues(state: ConversationState) -> dict[str, Dialogue]:
    return {sender: replace(dialogue, at=_NO_TIME) for sender, dialogue in state.dialogues.items()}
