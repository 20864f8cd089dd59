"""What a page shows is worked out from what the topics hold."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.console import pages
from stream_worker.console.golden import Labelled, examples
from stream_worker.console.pages import Piece, at_work, marked, waterfall
from stream_worker.console.vitals import Vitals
from stream_worker.contracts.analysis import DecisionEvidence, SlotEvidence, WordShare
from stream_worker.contracts.metric import Timings
from stream_worker.outcome import Outcome
from stream_worker.training.rasa_yaml import read_rasa_yaml
from tests.unit.console import records
from tests.unit.console.site import Site

SPANS = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)
WORDS = st.lists(st.tuples(SPANS, st.floats(-1, 1)), max_size=4)


@given(st.lists(st.floats(0, 100), min_size=10, max_size=10))
def test_a_turns_time_is_drawn_once_from_its_record_to_its_transaction(seconds: list[float]) -> None:
    waiting, parse, understand, dialogue, calls, rest, queued, prefill, decode, out = seconds
    first_token = queued + prefill
    timings = Timings(
        waiting=waiting,
        parse=parse,
        understand=understand,
        dialogue=dialogue,
        calls=calls,
        queued=queued,
        first_token=first_token,
        generate=first_token + decode,
        total=waiting + parse + understand + dialogue + calls + rest + first_token + decode,
    )
    bars = waterfall(timings, out)
    assert [bar.name for bar in bars] == list(Piece)
    assert sum(bar.seconds for bar in bars) == pytest.approx(timings.total + out, abs=1e-6)
    assert all(bar.left + bar.width <= 100.0001 for bar in bars)
    by_name = {bar.name: bar.seconds for bar in bars}
    assert (by_name[Piece.DIALOGUE], by_name[Piece.CALLS]) == (dialogue, calls)
    assert by_name[Piece.REST] == pytest.approx(rest, abs=1e-6)
    assert by_name[Piece.FIRST_TOKEN] == pytest.approx(prefill, abs=1e-6)


def test_every_piece_of_a_turns_time_has_a_colour_of_its_own() -> None:
    css = (Path(pages.__file__).parent / "static" / "console.css").read_text()
    hues = re.findall(r"\.w(\d+) \{ --hue: ([^;]+);", css)
    assert [int(number) for number, _ in hues] == list(range(len(Piece)))
    assert len({hue for _, hue in hues}) == len(Piece)


@given(
    st.text(min_size=1, max_size=20),
    st.lists(SPANS, max_size=4),
    st.lists(st.tuples(SPANS, st.floats(-1, 1)), max_size=4),
)
def test_marks_leave_the_text_as_it_is(text: str, slots: list[list[int]], words: list[tuple[list[int], float]]) -> None:
    filled = [
        SlotEvidence(name="s", value=text[a:b], carried=False, start=a, end=b) for a, b in slots if a < b <= len(text)
    ]
    shares = [WordShare(start=a, end=b, weight=weight) for (a, b), weight in words if a < b]
    decision = DecisionEvidence(decision="intent", outcome="weather", method="occlusion", words=shares)
    assert "".join(mark.text for mark in marked(text, filled, decision)) == text


def test_the_words_that_spoke_for_the_intent_are_marked_by_how_much() -> None:
    words = [WordShare(start=0, end=4, weight=0.8), WordShare(start=8, end=15, weight=-0.25)]
    decision = DecisionEvidence(decision="intent", outcome="weather", method="occlusion", words=words)
    slot = SlotEvidence(name="city", value="Beijing", carried=False, start=8, end=15)
    first, between, last = marked("Rain in Beijing", [slot], decision)
    assert (first.text, first.level, first.why) == ("Rain", 3, "for weather: 0.80")
    assert (between.text, between.level, between.slot) == (" in ", 0, "")
    assert (last.slot, last.level, last.why) == ("city", -1, "against weather: -0.25")


def test_turns_that_wait_for_the_engine_are_told_from_those_that_run() -> None:
    one = Vitals(frozenset(), None, None, running=5, queued=2)
    found = at_work([one, replace(one, running=1, queued=0)])
    assert found is not None
    assert (found.running, found.queued) == (4, 2)
    assert at_work([]) is None


def test_a_message_becomes_an_example_of_another_intent_that_can_be_learnt_from(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    slots = [
        SlotEvidence(name="city", value="Oslo", carried=False, start=14, end=18),
        SlotEvidence(name="day", value="Monday", carried=True),
    ]
    written = examples([Labelled("Will it be in\nOslo?", "weather", tuple(slots))])
    (found,) = read_rasa_yaml(Path("nlu.yml"), written).examples
    assert (found.text, found.intents) == ("Will it be in Oslo?", ("weather",))
    assert [(slot.name, found.text[slot.start : slot.end]) for slot in found.slots] == [("city", "Oslo")]


def test_a_relabelled_message_is_saved_from_the_page() -> None:
    site = Site()
    site.board.take(*records.event("c", "e-1", 0, "What's the weather in Beijing?"))
    site.board.take(*records.analysis("c", "e-1"))
    assert 'action="/example.yml"' in site.ask("/conversation?id=c")[2]
    turn = records.turn_of("c", "e-1")
    status, headers, body = site.ask(f"/example.yml?id=c&turn={turn}&intent=smalltalk")
    assert (status, headers["content-disposition"]) == (200, f'attachment; filename="smalltalk-{turn[:8]}.yml"')
    assert "- What's the weather in [Beijing](city)?" in body
    assert site.ask(f"/example.yml?id=c&turn={turn}")[0] == 404


def test_a_dead_letter_is_reached_from_the_message_that_it_was() -> None:
    site = Site()
    site.board.take(*records.event("c", "e-1", 5, "poison"))
    site.board.take(*records.metric("c", "e-1", 5, Outcome.DEAD_LETTERED))
    site.board.take(*records.letter(9, "suspected_crash", b"{}", original=5))
    assert 'href="/letters?id=0/9#opened"' in site.ask("/conversation?id=c")[2]
