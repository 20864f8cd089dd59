"""Dead letters: which are meant, in which order they go back, and what a mark says."""

from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_worker.console.letters import read_letter
from stream_worker.contracts import dead_letter as names
from stream_worker.contracts.dead_letter import dead_letter
from stream_worker.contracts.headers import REDRIVE
from stream_worker.contracts.versions import Versions
from stream_worker.kafka.letters import Fate, Letter, Letters, Wanted, mark, redriven
from stream_worker.outcome import DeadLetterReason
from stream_worker.record import Headers, Outgoing, Record
from tests.mutations import mutated

DATA = Path(__file__).parents[2] / "data"
_TOPIC = "chat.dead-letters"


def _stored(outgoing: Outgoing, offset: int, at: int = 0) -> Record:
    return Record(outgoing.topic, 0, offset, at, outgoing.key, outgoing.value, outgoing.headers)


def _original(offset: int, key: bytes = b"c-1", value: bytes = b"{}") -> Record:
    return Record("chat.events", 3, offset, 5, key, value, (("ce_id", b"e-1"), ("sw_reason", b"theirs")))


def _letter(
    original: Record, reason: DeadLetterReason = DeadLetterReason.TURN_TIMEOUT, *, bot: str = "", max_bytes: int = 10**6
) -> Outgoing:
    versions = Versions(worker="1", settings="s", bot=bot, bot_version="", model="m")
    return dead_letter(original, reason, "why", topic=_TOPIC, versions=versions, max_bytes=max_bytes)


@given(st.permutations(range(6)))
def test_letters_go_back_in_the_order_of_their_events(order: list[int]) -> None:
    letters = Letters()
    for place, offset in enumerate(order):
        letters.add(_stored(_letter(_original(offset)), place))
    assert [letter.order[2] for letter in letters.find(Wanted())] == sorted(order)


def test_a_filter_lets_through_what_it_names() -> None:
    letters = Letters()
    letters.add(_stored(_letter(_original(0), bot="shop"), 0, at=1_000))
    letters.add(_stored(_letter(_original(1, b"c-2"), DeadLetterReason.NO_BOT), 1, at=2_000))

    def places(wanted: Wanted) -> list[str]:
        return [letter.place for letter in letters.find(wanted)]

    assert places(Wanted()) == ["0/0", "0/1"]
    assert places(Wanted(reasons=frozenset({"no_bot"}))) == ["0/1"]
    assert places(Wanted(bot="shop")) == ["0/0"]
    assert places(Wanted(conversation="c-2")) == ["0/1"]
    assert places(Wanted(since_ms=1_001)) == ["0/1"]
    assert places(Wanted(until_ms=2_000)) == ["0/0"]
    assert places(Wanted(places=frozenset({"0/1", "7/7"}))) == ["0/1"]


def test_a_redriven_event_is_as_it_came_and_each_time_another_redrive() -> None:
    letters = Letters()
    letters.add(_stored(_letter(_original(9, value=b"\xffraw")), 4))
    seen = []
    for redrives in range(2):
        (letter,) = letters.find(Wanted(fates=frozenset(Fate)))
        assert (letter.redrives, letter.fate) == (redrives, Fate.REDRIVEN if redrives else Fate.OPEN)
        again = redriven(letter, "chat.events")
        assert (again.key, again.value) == (b"c-1", b"\xffraw")
        headers = dict(again.headers)
        seen.append(headers.pop(REDRIVE))
        assert headers == {"ce_id": b"e-1"}
        letters.add(_stored(mark(letter, _TOPIC, Fate.REDRIVEN), 5 + redrives))
    assert len(set(seen)) == 2
    assert letters.find(Wanted()) == [], "a letter that went back is not listed"


def test_a_mark_holds_nothing_of_the_message_and_may_come_before_its_letter_is_read() -> None:
    letters = Letters()
    probe = Letters()
    probe.add(_stored(_letter(_original(0, value=b"secret")), 0))
    (letter,) = probe.find(Wanted())
    made = mark(letter, _TOPIC, Fate.DROPPED)
    assert made.value is None
    letters.add(_stored(made, 8))
    letters.add(letter.record)
    found: list[Letter] = letters.find(Wanted(fates=frozenset({Fate.DROPPED})))
    assert [each.place for each in found] == ["0/0"]


def test_a_letter_that_was_cut_says_so() -> None:
    letters = Letters()
    letters.add(_stored(_letter(_original(0, value=b"x" * 5_000), max_bytes=2_000), 0))
    (letter,) = letters.find(Wanted())
    assert letter.is_truncated


_HEADERS = [
    *(orjson.loads(line) for line in (DATA / "v1" / "dead_letter_headers.jsonl").read_bytes().splitlines()),
    {names.MARKS: "0/1", names.MARK: "redriven", names.MARKED_BY: "ann"},
]


@st.composite
def _broken_headers(draw: st.DrawFn) -> Headers:
    """Those of a letter or a mark; some are missing, twice, or hold anything."""
    whole = [(name, str(value).encode()) for name, value in draw(st.sampled_from(_HEADERS)).items()]
    kept = [header for header in whole if draw(st.integers(0, 9))]
    return tuple(
        (name, draw(st.none() | mutated([value])) if not draw(st.integers(0, 2)) else value)
        for name, value in [*kept, *draw(st.lists(st.sampled_from(whole), max_size=2))]
    )


@pytest.mark.fuzz
@example([(((names.PARTITION, b"x"), (names.OFFSET, b"9" * 5_000)), None)])
@example([(((names.MARKS, b"0/1"),), None), (((names.MARKS, b"0/1"), (names.MARK, b"burnt")), None)])
@given(st.lists(st.tuples(_broken_headers(), st.none() | st.binary(max_size=8)), max_size=4))
def test_no_headers_in_the_topic_are_a_surprise(records: list[tuple[Headers, bytes | None]]) -> None:
    letters = Letters()
    for place, (headers, key) in enumerate(records):
        record = Record(_TOPIC, 0, place, 5, key, b"{}", headers)
        letters.add(record)
        read_letter(record)
    for letter in letters.find(Wanted(fates=frozenset(Fate))):
        mark(letter, _TOPIC, Fate.DROPPED)
        assert redriven(letter, "chat.events").value == b"{}"
        orjson.dumps([letter.place, letter.reason, letter.message, letter.source, letter.conversation])
