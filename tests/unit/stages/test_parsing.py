"""Parsing takes any text, loses nothing of it, and is done in time that grows with its length only."""

import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.errors import Misconfigured
from stream_worker.stages.parsing import Parser

_PARSER = Parser(("en", "zh", "ar", "hi"))
_TEXTS = st.one_of(
    st.text(),
    st.text(st.sampled_from('aB1 .!?…。！？؟।)"”\n\u2028\0\u0301\u0316\u0344🎉\ud800שم你'), max_size=80),
)


@settings(deadline=None)  # the detector loads a language's model when it first needs it
@given(_TEXTS)
def test_sentences_hold_all_of_the_text_but_space(text: str) -> None:
    parsed = _PARSER.parse(text)
    assert "".join("".join(parsed.sentences).split()) == "".join(parsed.text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in parsed.sentences)


@settings(deadline=None)  # the detector loads a language's model when it first needs it
@given(_TEXTS)
def test_parsing_again_changes_nothing(text: str) -> None:
    parsed = _PARSER.parse(text)
    assert _PARSER.parse(parsed.text) == parsed
    assert all(_PARSER.parse(sentence).sentences == (sentence,) for sentence in parsed.sentences)


@settings(deadline=None)  # the detector loads a language's model when it first needs it
@given(_TEXTS)
def test_the_text_is_in_nfc_and_otherwise_as_it_came(text: str) -> None:
    parsed = _PARSER.parse(text).text
    assert unicodedata.is_normalized("NFC", parsed)
    if "\u034f" not in parsed:
        assert parsed == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("marks", [30, 31, 100])
def test_long_runs_of_marks_are_cut_and_short_ones_kept(marks: int) -> None:
    text = "q" + "\u0316" * marks
    assert _PARSER.parse(text).text.count("\u034f") == (marks - 1) // 30


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", ()),
        ("  \n ", ()),
        ("Hello. How are you? fine!", ("Hello.", "How are you?", "fine!")),
        ("It costs approx. half of 3.50 at example.com.", ("It costs approx. half of 3.50 at example.com.",)),
        ("one\ntwo", ("one", "two")),
        ('He said "no." Then he left...', ('He said "no."', "Then he left...")),
        ("你好。今天天气怎么样？谢谢！", ("你好。", "今天天气怎么样？", "谢谢！")),
        ("她说：「好。」走了", ("她说：「好。」", "走了")),
        ("こんにちは。元気ですか？はい", ("こんにちは。", "元気ですか？", "はい")),
        ("「行く！」と言った。3.5時間です", ("「行く！」", "と言った。", "3.5時間です")),
        ("كيف حالك؟ شكرا", ("كيف حالك؟", "شكرا")),
        ("नमस्ते। आप कैसे हैं?", ("नमस्ते।", "आप कैसे हैं?")),
        ("Really?! Yes", ("Really?!", "Yes")),
    ],
)
def test_sentences(text: str, sentences: tuple[str, ...]) -> None:
    assert _PARSER.parse(text).sentences == sentences


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("what is the weather", "en"),
        ("今天天气怎么样", "zh"),
        ("مرحبا كيف حالك", "ar"),
        ("आप कैसे हैं", "hi"),
        ("🎉🎉", "en"),
        ("\ud800", "en"),
    ],
)
def test_the_language_is_one_of_the_bots_and_the_first_in_doubt(text: str, language: str) -> None:
    assert _PARSER.parse(text).language == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ok", "en"),
        ("hi", "en"),
        ("好的", "zh"),
        ("在吗", "zh"),
        ("谢谢 bye", "zh"),
        ("はい", "ja"),
        ("東京の天気は？", "ja"),
        ("네", "ko"),
        ("да", "ru"),
    ],
)
def test_short_texts_are_told_apart_by_their_letters(text: str, language: str) -> None:
    assert Parser(("en", "zh", "ja", "ko", "ru")).parse(text).language == language


def test_one_declared_language_is_taken_as_it_is_without_the_detector() -> None:
    code = (
        "import sys; from stream_worker.stages.parsing import Parser; "
        "assert Parser(('xx',)).parse('今天').language == 'xx'; assert 'lingua' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_language_that_cannot_be_detected_is_refused() -> None:
    with pytest.raises(Misconfigured, match="xx"):
        Parser(("en", "xx"))


@pytest.mark.parametrize(
    "piece", ["a\u0301\u0316", "\u0301\u0316", "\u0344", ".", ". ", "? ) ", "。", "\n", "x ", "你", "🎉"]
)
def test_a_megabyte_of_anything_comes_to_an_end(piece: str) -> None:
    """What takes the square of the length would not, within the suite's limit for a test."""
    text = piece * (1_000_000 // len(piece.encode()))
    parsed = _PARSER.parse(text)
    assert "".join("".join(parsed.sentences).split()) == "".join(parsed.text.split())


@given(st.text(st.sampled_from("a\u0301\u0316\u0344"), max_size=200))
def test_no_run_of_marks_is_longer_than_the_stream_safe_format_has_it(text: str) -> None:
    """Ordering a run takes the square of its length."""
    runs = re.findall("[\u0300-\u036f]+", unicodedata.normalize("NFD", _PARSER.parse(text).text))
    assert all(len(piece) <= 30 for run in runs for piece in run.split("\u034f")), runs
