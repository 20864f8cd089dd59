"""What delivery promises, as checks over what went in and what came out. Pure.

Each check raises AssertionError with what is wrong. Values of topics are their decoded JSON, in the order of their
partition; a conversation lives in one partition, so its records are in order, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_worker.contracts.internal import LEDGER_PREFIX, STATE_PREFIX, LedgerRecord, load_ledger
from stream_worker.conversation.state import ConversationState, Speaker, load_state
from stream_worker.outcome import FinishReason

Value = Mapping[str, Any]
Changelog = Iterable[tuple[bytes, bytes | None]]
"""Read several times."""


def each_event_has_one_outcome(sent: Iterable[str], metrics: Sequence[Value]) -> None:
    """Every event that was sent settled once."""
    nothing_is_settled_twice(metrics)
    nothing_is_lost(sent, metrics)


def nothing_is_settled_twice(metrics: Sequence[Value]) -> None:
    outcomes: dict[str, list[str]] = defaultdict(list)
    for metric in metrics:
        outcomes[metric["event_id"]].append(metric["outcome"])
    twice = {event_id: found for event_id, found in outcomes.items() if len(found) > 1}
    assert not twice, f"settled twice: {twice}"


def nothing_is_lost(sent: Iterable[str], metrics: Sequence[Value]) -> None:
    settled = {metric["event_id"] for metric in metrics}
    lost = [event_id for event_id in sent if event_id not in settled]
    assert not lost, f"lost: {lost}"


def no_event_is_answered_twice(replies: Sequence[Value]) -> None:
    seen: dict[str, str] = {}
    for reply in replies:
        for event_id in reply["in_reply_to"]:
            assert event_id not in seen, f"answered twice: {event_id}"
            seen[event_id] = reply["reply_id"]
    assert len({reply["reply_id"] for reply in replies}) == len(replies), "answered twice: a reply id is not unique"


def replies_are_in_order(sent: Iterable[str], replies: Sequence[Value]) -> None:
    """`sent` in the order of the input; only the order within each conversation counts."""
    place = {event_id: number for number, event_id in enumerate(sent)}
    last: dict[str, int] = {}
    for reply in replies:
        conversation, number = reply["conversation_id"], place[reply["in_reply_to"][0]]
        assert number > last.get(conversation, -1), f"out of order: {reply['in_reply_to'][0]} of {conversation}"
        last[conversation] = number


def state_is_what_was_published(replies: Sequence[Value], changelog: Changelog) -> None:
    """Each conversation's last state has one turn a reply, and ends with the texts of the replies.

    The bot's text for a dead letter is no part of the conversation.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for reply in replies:
        if reply.get("finish_reason") == FinishReason.FALLBACK:
            continue
        texts[reply["conversation_id"]].append(reply["text"])
    states = last_states(changelog)
    for conversation, said in texts.items():
        state = states.get(conversation, ConversationState())
        lines = [line.text for line in state.history if line.speaker is Speaker.BOT]
        assert state.turns == len(said), f"state lost: {conversation} has {state.turns} turns, {len(said)} replies"
        assert lines == said[len(said) - len(lines) :], f"state differs: {conversation} remembers other replies"


def ledgers_never_go_back(changelog: Changelog) -> None:
    """Terms rise, `next` rises, and what is settled stays so."""
    last: dict[int, LedgerRecord] = {}
    for ledger in ledgers(changelog):
        before = last.get(ledger.partition)
        if before is not None:
            where = f"partition {ledger.partition}"
            assert ledger.term >= before.term, f"{where}: the term went back from {before.term} to {ledger.term}"
            assert ledger.next >= before.next, f"{where}: next went back from {before.next} to {ledger.next}"
            reopened = [offset for offset in set(ledger.open) - set(before.open) if offset < before.next]
            assert not reopened, f"{where}: settled offsets are open again: {reopened}"
        last[ledger.partition] = ledger


def previews_add_up(replies: Sequence[Value], deltas: Sequence[Value]) -> None:
    """For a reader that keeps the highest term and attempt of a turn, the deltas are the reply's text."""
    newest: dict[str, tuple[int, int]] = {}
    for delta in deltas:
        turn, key = delta["turn_id"], (delta["term"], delta["attempt"])
        newest[turn] = max(newest.get(turn, key), key)
    shown: dict[str, str] = defaultdict(str)
    for delta in deltas:
        if (delta["term"], delta["attempt"]) == newest[delta["turn_id"]]:
            shown[delta["turn_id"]] += delta["text"]
    for reply in replies:
        turn = reply["turn_id"]
        assert newest.get(turn) == (reply["term"], reply["attempt"]), f"the preview of {turn} is not of its reply"
        assert shown[turn] == reply["text"], f"the preview of {turn} does not add up to its reply"


def only_suspects_are_condemned(condemned: Sequence[Value], changelog: Changelog) -> None:
    """A `suspected_crash` ran alone, named in its ledger, after two crashes that may have been its doing.

    And its partition was not let go in order since. That is what is promised of a good event: not that it is never
    condemned (a process that is killed for another reason takes what ran alone with it), but never without this.
    """
    partitions = {metric["partition"] for metric in condemned}
    history: dict[int, list[LedgerRecord]] = defaultdict(list)
    for ledger in ledgers(changelog):
        if ledger.partition in partitions:
            history[ledger.partition].append(ledger)
    for metric in condemned:
        where = f"{metric['partition']}/{metric['offset']}"
        before = [ledger for ledger in history[metric["partition"]] if ledger.term < metric["term"]]
        named = [number for number, ledger in enumerate(before) if ledger.suspect == metric["offset"]]
        assert named, f"condemned without suspicion: {where} never ran alone"
        crashes = dict(before[named[-1]].crashes).get(metric["offset"], 0)
        assert crashes >= 2, f"condemned without suspicion: {where}, and it may have been running at {crashes} crashes"
        assert not any(each.released for each in before[named[-1] :]), f"condemned though let go in order: {where}"


def last_states(changelog: Changelog) -> dict[str, ConversationState]:
    """The last committed state of every conversation."""
    found = {key: value for key, value in changelog if value is not None and key.startswith(STATE_PREFIX)}
    return {key.removeprefix(STATE_PREFIX).decode(): load_state(value) for key, value in found.items()}


def ledgers(changelog: Changelog) -> Iterator[LedgerRecord]:
    """Every ledger record, in order."""
    for key, value in changelog:
        if value is not None and key.startswith(LEDGER_PREFIX):
            yield load_ledger(value, int(key.removeprefix(LEDGER_PREFIX)))


def each_reply_has_its_command(replies: Sequence[Value], commands: Sequence[Value]) -> None:
    """For a bot that emits one command with each of these replies: exactly one, and none without its reply."""
    emitted = [command["command_id"] for command in commands]
    assert len(set(emitted)) == len(emitted), "a command was emitted twice"
    turns = {reply["turn_id"] for reply in replies}
    assert {command["turn_id"] for command in commands} == turns, "commands and replies are not of the same turns"
    assert len(commands) == len(turns), "a turn has more than one command"


@dataclass(slots=True)
class _Preview:
    """What was shown of a turn by one attempt, as far as nothing was missing."""

    text: str = ""
    pieces: int = 0
    is_done: bool = False
    has_gap: bool = False

    def add(self, delta: Value) -> None:
        self.has_gap = self.has_gap or delta["seq"] != self.pieces
        self.pieces += 1
        self.text += delta["text"]
        self.is_done = delta["state"] == "done"


def previews_add_up_where_complete(replies: Sequence[Value], deltas: Iterable[Value]) -> int:
    """A preview of the reply's own term and attempt without a gap is the reply's text; how many there are.

    Previews are not transactional: one may be missing where its process ended, and then only the reply counts.
    """
    shown: dict[tuple[str, int, int], _Preview] = defaultdict(_Preview)
    for delta in deltas:
        shown[delta["turn_id"], delta["term"], delta["attempt"]].add(delta)
    complete = 0
    for reply in replies:
        preview = shown[reply["turn_id"], reply["term"], reply["attempt"]]
        if preview.has_gap or not preview.is_done or reply["truncated"]:
            continue
        assert preview.text == reply["text"], f"the preview of {reply['turn_id']} does not add up to its reply"
        complete += 1
    return complete
