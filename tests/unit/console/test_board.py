"""What the topics hold is seen as one conversation, in whatever order it is read, and within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.console import board as board_module
from stream_worker.console.board import Board, of_conversation
from stream_worker.console.conversation import Conversation, Line, Turn
from stream_worker.console.pages import golden_steps
from stream_worker.kafka.topics import Role
from stream_worker.outcome import Outcome
from stream_worker.record import Record
from tests.unit.console import records
from tests.unit.console.records import AT, Seen


def board_of(*seen: Seen) -> Board:
    board = Board()
    for role, record in seen:
        board.take(role, record)
    return board


def told(conversation: Conversation) -> list[str]:
    return [entry.text if isinstance(entry, Line) else f"bot: {entry.text}" for entry in conversation.transcript()]


#: Two turns, the second of two events that were merged.
STORY = (
    records.event("c", "e-1", 0, "hello"),
    records.reply("c", "e-1", "hi"),
    records.analysis("c", "e-1"),
    records.metric("c", "e-1", 0),
    records.event("c", "e-2", 1, "and"),
    records.event("c", "e-3", 2, "more"),
    records.reply("c", "e-2", "indeed", at=AT + 1),
    records.metric("c", "e-2", 1, at=AT + 1),
    records.metric("c", "e-3", 2, Outcome.MERGED, turn="e-2", at=AT + 1),
)


@given(st.permutations(STORY))
def test_the_order_in_which_topics_are_read_changes_nothing_that_is_seen(order: list[Seen]) -> None:
    # A partition keeps its order, and events must be there for their outcomes to be put beside them.
    ordered = sorted(
        order, key=lambda seen: (seen[0] is not Role.EVENTS, seen[1].offset if seen[0] is Role.EVENTS else 0)
    )
    conversation = board_of(*ordered).conversations["c"]
    assert told(conversation) == ["hello", "bot: hi", "and", "more", "bot: indeed"]
    assert conversation.waiting_since is None


@given(st.permutations(STORY))
def test_nothing_is_lost_where_outcomes_are_read_before_their_events(order: list[Seen]) -> None:
    conversation = board_of(*order).conversations["c"]
    shown = told(conversation)
    assert sorted(shown) == sorted(["hello", "bot: hi", "and", "more", "bot: indeed"])
    assert shown.index("hello") < shown.index("bot: hi") < shown.index("bot: indeed")
    assert conversation.waiting_since is None


def test_a_new_attempt_replaces_what_was_shown_and_an_old_one_is_ignored() -> None:
    board = board_of(
        records.event("c", "e-1", 0),
        records.delta("c", "e-1", 0, "The first"),
        records.delta("c", "e-1", 0, "Second", attempt=2),
        records.delta("c", "e-1", 9, " attempt"),
        records.delta("c", "e-1", 6, " try", attempt=2),
    )
    turn = board.conversations["c"].turns[records.turn_of("c", "e-1")]
    assert (turn.text, turn.is_writing) == ("Second try", True)
    board.take(*records.reply("c", "e-1", "The reply is the truth"))
    assert (turn.text, turn.is_writing) == ("The reply is the truth", False)


def test_after_a_gap_only_the_reply_helps() -> None:
    board = board_of(records.delta("c", "e-1", 0, "It is"), records.delta("c", "e-1", 11, " sunny"))
    turn = board.conversations["c"].turns[records.turn_of("c", "e-1")]
    assert (turn.text, turn.has_gap) == ("It is", True)


def test_what_was_erased_is_not_seen_in_whatever_order_it_is_read() -> None:
    board = board_of(
        records.event("c", "e-1", 0, "secret", at=AT),
        records.erasure("c", 1, at=AT + 10),
        records.reply("c", "e-1", "secret, too", at=AT + 5),
        records.event("c", "e-2", 2, "afterwards", at=AT + 20),
    )
    shown = told(board.conversations["c"])
    assert "afterwards" in shown
    assert not [text for text in shown if "secret" in text]


def test_memory_is_bounded_and_what_was_quiet_longest_goes() -> None:
    board = Board()
    limit = board_module.MAX_CONVERSATIONS
    for number in range(limit + 25):
        board.take(*records.event(f"c-{number}", "e", number))
    assert len(board.conversations) == limit
    assert "c-0" not in board.conversations
    assert f"c-{limit + 24}" in board.conversations
    assert board.dropped == 25


def test_long_texts_count_too() -> None:
    board = Board()
    for number in range(40):
        board.take(*records.event(f"c-{number}", "e", number, "x" * 8_000_000))
    held = sum(each.bytes for each in board.conversations.values())
    assert held <= board_module.MAX_BYTES
    assert len(board.conversations) < 40


@given(st.binary(max_size=200), st.sampled_from(list(Role)), st.none() | st.binary(max_size=20))
def test_no_record_brings_the_console_down(value: bytes, role: Role, key: bytes | None) -> None:
    Board().take(role, Record("t", 0, 0, AT, key, value, ()))


def test_changes_are_named_once() -> None:
    board = board_of(records.event("c", "e-1", 0))
    assert of_conversation("c") in board.changed()
    assert not board.changed()


def test_the_age_of_an_offset_is_known_within_the_window_only() -> None:
    board = board_of(records.event("c", "e-1", 5, at=AT), records.event("c", "e-2", 9, at=AT + 9))
    assert board.written_at(0, 4) is None
    assert board.written_at(0, 5) == AT
    # A gap, such as a transaction's marker: the next event's.
    assert board.written_at(0, 6) == AT + 9
    assert board.written_at(0, 10) is None


def test_a_conversation_becomes_a_golden_test() -> None:
    steps = list(golden_steps(board_of(*STORY[:4]).conversations["c"]))
    assert steps == [{"user": "hello"}, {"expect": {"intent": "weather", "slots": {"city": "Beijing"}}}]


def test_a_turn_whose_events_lie_before_the_window_is_shown() -> None:
    conversation = board_of(records.reply("c", "e-0", "from before")).conversations["c"]
    assert [type(entry) for entry in conversation.transcript()] == [Turn]
