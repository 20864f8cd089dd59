"""Histories of one conversation, and what must hold of whatever a worker makes of them. Pure.

A history is events in the order of the topic. The engine of these tests answers `re: ` and the user's last message,
so a reply shows which texts it answered. Each check raises AssertionError with what is wrong.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from stream_worker.contracts.decode import identity
from stream_worker.conversation.state import ConversationState
from stream_worker.orders import Generate
from stream_worker.tokens import PromptMessages

Value = Mapping[str, Any]
#: A step's kind and how many messages back its target lies, or how many hundredths of a second to wait.
Step = tuple[str, int]

KINDS = (
    *("say",) * 6,
    *("edit", "delete", "edit", "delete"),
    *("react", "other", "agent", "bot", "trigger", "again", "late"),
    *("handoff", "handback", "erasure", "closed"),
    *("wait", "wait", "crash"),
)


def echo(order: Generate) -> str:
    assert isinstance(order.prompt, PromptMessages)
    return f"re: {order.prompt.messages[-1].text}"


def random_history(seed: int, steps: int) -> list[Step]:
    chance = random.Random(seed)
    return [(chance.choice(KINDS), chance.randrange(8)) for _ in range(steps)]


class Writer:
    """Makes events of steps; remembers them."""

    def __init__(self, conversation: str) -> None:
        self.conversation = conversation
        self.events: list[dict[str, Any]] = []

    def event(self, kind: str, number: int) -> dict[str, Any]:
        name = f"{self.conversation}-{len(self.events)}"
        event = {"conversation_id": self.conversation, "message_id": name, **self._fields(kind, number, name)}
        self.events.append(event)
        return event

    def _fields(self, kind: str, number: int, name: str) -> dict[str, Any]:
        said = [each for each in self.events if each["type"] == "message"]
        target = said[-1 - number % len(said)]["message_id"] if said else "nobody"
        match kind:
            case "say" | "other" | "agent" | "bot":
                role = kind if kind in ("agent", "bot") else "user"
                return {"type": "message", "sender": {"id": kind, "role": role}, "text": f"text of {name}"}
            case "late":
                return {"type": "message", "sender": {"id": "say"}, "text": f"text of {name}", "expires_at": 1}
            case "edit":
                return {"type": "edit", "sender": {"id": "say"}, "target_id": target, "text": f"edited by {name}"}
            case "delete":
                return {"type": "deletion", "sender": {"id": "say"}, "target_id": target}
            case "react":
                return {"type": "reaction", "sender": {"id": "say"}, "target_id": target, "reaction": "+1"}
            case "trigger":
                return {"type": "trigger", "name": "reminder"}
            case "again" if said:
                return dict(said[-1 - number % len(said)])
            case "again":
                return {"type": "closed"}
            case _:
                return {"type": kind}


def text_of(message_id: str, events: Sequence[Value], among: frozenset[str] | None = None) -> str | None:
    """A message's text after its changes, all of them or those `among`; None where it was deleted."""
    text: str | None = None
    seen = False
    for event in events:
        is_it = event["message_id"] == message_id
        if event["type"] == "message" and is_it and not seen:
            text, seen = event["text"], True
        counts = seen and (among is None or event["message_id"] in among) and event.get("target_id") == message_id
        if counts and event["type"] == "deletion":
            return None
        if counts and event["type"] == "edit":
            text = event["text"]
    return text


def check(
    events: Sequence[Value], metrics: Sequence[Value], replies: Sequence[Value], state: ConversationState
) -> None:
    """All that is promised of one conversation, when nothing more is to come."""
    each_record_has_one_outcome(events, metrics)
    nothing_is_answered_twice(replies)
    nothing_is_answered_after_a_hand_off(events, metrics)
    replies_answer_the_texts_as_they_stood(events, replies)
    replies_are_in_order(events, replies)
    turns_are_named_by_their_first_event(metrics)
    history_has_every_edit_and_no_deleted_text(events, state)
    nothing_of_before_an_erasure_stays(events, replies, state)
    what_is_late_is_not_answered(events, metrics, replies)
    a_reaction_settles_without_a_reply(events, metrics)


def each_record_has_one_outcome(events: Sequence[Value], metrics: Sequence[Value]) -> None:
    offsets = [metric["offset"] for metric in metrics]
    assert len(set(offsets)) == len(offsets), "settled twice"
    assert len(offsets) == len(events), f"lost or stuck: {len(events) - len(offsets)} events"


def nothing_is_answered_twice(replies: Sequence[Value]) -> None:
    answered = [event_id for reply in replies for event_id in reply["in_reply_to"]]
    assert len(set(answered)) == len(answered), "answered twice"
    assert len({reply["reply_id"] for reply in replies}) == len(replies), "answered twice: a reply id is not unique"


def nothing_is_answered_after_a_hand_off(events: Sequence[Value], metrics: Sequence[Value]) -> None:
    kinds = {event["message_id"]: event["type"] for event in events}
    human = False
    for metric in metrics:
        if metric["outcome"] == "replied":
            assert not human, f"answered after a hand-off: {metric['event_id']}"
        if metric["outcome"] != "silent":
            continue
        match kinds[metric["event_id"]]:
            case "handoff":
                human = True
            case "handback" | "closed" | "erasure":
                human = False


def replies_answer_the_texts_as_they_stood(events: Sequence[Value], replies: Sequence[Value]) -> None:
    kinds = {event["message_id"]: event["type"] for event in events}
    for reply in replies:
        answered = frozenset(reply["in_reply_to"])
        messages = [each for each in reply["in_reply_to"] if kinds[each] == "message"]
        texts = [text_of(each, events, answered) for each in messages]
        expected = "\n".join(text for text in texts if text is not None)
        # What was said and not answered, before a human gave the conversation back, stands before it.
        found = reply["text"].removeprefix("re: ")
        if messages:
            assert f"\n{found}".endswith(f"\n{expected}"), f"an edit was skipped: {found!r}, not {expected!r}"


def replies_are_in_order(events: Sequence[Value], replies: Sequence[Value]) -> None:
    place = {event["message_id"]: number for number, event in reversed(list(enumerate(events)))}
    places = [place[reply["in_reply_to"][0]] for reply in replies]
    assert places == sorted(places), "out of order"


def turns_are_named_by_their_first_event(metrics: Sequence[Value]) -> None:
    turns: dict[str, list[Value]] = {}
    for metric in metrics:
        if metric["turn_id"] is not None:
            turns.setdefault(metric["turn_id"], []).append(metric)
    for turn_id, found in turns.items():
        first = min(found, key=lambda metric: int(metric["offset"]))
        assert turn_id == identity(first["conversation_id"], "", first["event_id"]), "a turn has another's name"


def history_has_every_edit_and_no_deleted_text(events: Sequence[Value], state: ConversationState) -> None:
    for line in state.history:
        if line.event_id in {event["message_id"] for event in events}:
            expected = text_of(line.event_id, events)
            assert line.text == expected, f"a change of {line.event_id} was skipped: {line.text!r}, not {expected!r}"


def nothing_of_before_an_erasure_stays(
    events: Sequence[Value], replies: Sequence[Value], state: ConversationState
) -> None:
    erasures = [number for number, event in enumerate(events) if event["type"] == "erasure"]
    place = {event["message_id"]: number for number, event in reversed(list(enumerate(events)))}
    said = place | {reply["reply_id"]: place[reply["in_reply_to"][0]] for reply in replies}
    for line in state.history:
        if erasures and line.event_id in said:
            assert said[line.event_id] > erasures[-1], f"it was erased, and is still there: {line.event_id}"


def what_is_late_is_not_answered(events: Sequence[Value], metrics: Sequence[Value], replies: Sequence[Value]) -> None:
    late = {event["message_id"] for event in events if event.get("expires_at")}
    answered = {event_id for reply in replies for event_id in reply["in_reply_to"]}
    assert not late & answered, f"answered though it was too late: {late & answered}"
    for metric in metrics:
        if metric["event_id"] in late:
            assert metric["outcome"] in ("expired", "duplicate", "silent"), f"too late, but {metric['outcome']}"


def a_reaction_settles_without_a_reply(events: Sequence[Value], metrics: Sequence[Value]) -> None:
    reactions = {event["message_id"] for event in events if event["type"] == "reaction"}
    for metric in metrics:
        if metric["event_id"] in reactions:
            assert metric["outcome"] == "silent", f"a reaction was {metric['outcome']}"
