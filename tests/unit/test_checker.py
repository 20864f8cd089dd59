"""The checks of delivery find what they are for, in histories made by hand."""

from typing import Any

import pytest

from stream_worker.contracts.internal import LedgerRecord, ledger_key, state_key
from stream_worker.conversation.state import ConversationState, Line, Speaker
from tests import checker


def settled(*event_ids: str) -> list[dict[str, Any]]:
    return [{"event_id": event_id, "outcome": "replied"} for event_id in event_ids]


def reply(event_id: str, text: str = "yes", conversation: str = "c") -> dict[str, Any]:
    turn = f"turn-{event_id}"
    return {
        "reply_id": turn,
        "turn_id": turn,
        "conversation_id": conversation,
        "in_reply_to": [event_id],
        "text": text,
        "term": 1,
        "attempt": 1,
    }


def delta(event_id: str, text: str, term: int = 1, attempt: int = 1) -> dict[str, Any]:
    return {"turn_id": f"turn-{event_id}", "text": text, "term": term, "attempt": attempt}


def state(conversation: str, turns: int, *said: str) -> tuple[bytes, bytes]:
    lines = tuple(Line(Speaker.BOT, text, text, 0) for text in said)
    return state_key(conversation), ConversationState(turns=turns, history=lines).dump()


def ledger(term: int, next_offset: int, *open_offsets: int) -> tuple[bytes, bytes]:
    record = LedgerRecord(topic_id="t", partition=0, partitions=1, term=term, next=next_offset, open=open_offsets)
    return ledger_key(0), record.dump()


def test_a_good_history_passes() -> None:
    replies = [reply("a"), reply("b", "no")]
    checker.each_event_has_one_outcome(["a", "b"], settled("a", "b"))
    checker.no_event_is_answered_twice(replies)
    checker.replies_are_in_order(["a", "b"], replies)
    checker.state_is_what_was_published(replies, [state("c", 1, "yes"), state("c", 2, "yes", "no")])
    checker.ledgers_never_go_back([ledger(1, 0), ledger(1, 3, 0, 2), ledger(2, 3, 2), ledger(2, 3)])
    checker.previews_add_up([reply("a", "yes sir")], [delta("a", "yes"), delta("a", " sir")])


def test_a_lost_event_is_found() -> None:
    with pytest.raises(AssertionError, match=r"lost: \['b'\]"):
        checker.each_event_has_one_outcome(["a", "b"], settled("a"))


def test_an_event_that_is_settled_twice_is_found() -> None:
    with pytest.raises(AssertionError, match=r"settled twice: \{'a'"):
        checker.each_event_has_one_outcome(["a"], settled("a", "a"))


def test_an_event_that_is_answered_twice_is_found() -> None:
    with pytest.raises(AssertionError, match="answered twice: a"):
        checker.no_event_is_answered_twice([reply("a"), reply("a")])


def test_replies_out_of_order_are_found_within_a_conversation_only() -> None:
    checker.replies_are_in_order(["a", "b"], [reply("b", conversation="d"), reply("a")])
    with pytest.raises(AssertionError, match="out of order: a of c"):
        checker.replies_are_in_order(["a", "b"], [reply("b"), reply("a")])


def test_a_lost_state_is_found() -> None:
    with pytest.raises(AssertionError, match="state lost: c has 1 turns, 2 replies"):
        checker.state_is_what_was_published([reply("a"), reply("b")], [state("c", 1, "yes")])


def test_a_state_of_another_history_is_found() -> None:
    with pytest.raises(AssertionError, match="state differs"):
        checker.state_is_what_was_published([reply("a", "yes")], [state("c", 1, "no")])


@pytest.mark.parametrize(
    ("later", "what"),
    [(ledger(1, 5), "the term went back"), (ledger(2, 4), "next went back"), (ledger(2, 6, 3), r"open again: \[3\]")],
)
def test_a_ledger_that_goes_back_is_found(later: tuple[bytes, bytes], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        checker.ledgers_never_go_back([ledger(2, 5, 4), later])


def test_deltas_of_an_older_term_or_attempt_do_not_count() -> None:
    replies = [reply("a", "new") | {"term": 2, "attempt": 2}]
    deltas = [
        delta("a", "old"),
        delta("a", "older", term=2),
        delta("a", "n", term=2, attempt=2),
        delta("a", "late"),
        delta("a", "ew", term=2, attempt=2),
    ]
    checker.previews_add_up(replies, deltas)


def test_a_preview_that_differs_from_its_reply_is_found() -> None:
    with pytest.raises(AssertionError, match="does not add up"):
        checker.previews_add_up([reply("a", "yes")], [delta("a", "yes"), delta("a", "yes")])
    with pytest.raises(AssertionError, match="is not of its reply"):
        checker.previews_add_up([reply("a", "yes")], [delta("a", "yes", term=2)])
