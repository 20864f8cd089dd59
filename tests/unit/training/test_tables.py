"""Examples in JSON lines and CSV mean the same as in YAML, and what is wrong is named by file and line."""

from pathlib import Path

import pytest

from stream_worker.errors import Misconfigured
from stream_worker.training.examples import Example, MarkedSlot
from stream_worker.training.read import read_examples

_JSONL = """\
{"text": "rain in Paris?", "intent": "weather", "slots": [{"name": "city", "start": 8, "end": 13, "value": "PAR"}]}

{"text": "hi, rain in Rome", "intent": ["greet", "weather"], "slots": [{"entity": "city", "text": "Rome", "role": "x"}]}
{"tokens": ["in", "New", "York", "now"], "slots": ["O", "B-city", "I-city", "O"], "intent": "weather"}
{"text": "thanks", "intent": "thanks", "sentiment": "positive"}
"""
_CSV = """\
text,intent,slots,sentiment
rain in Paris?,weather,"[{""name"": ""city"", ""text"": ""Paris""}]",
"two
lines",greet+weather,,negative
"""


def _written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_json_lines(tmp_path: Path) -> None:
    file = _written(tmp_path, "a.jsonl", _JSONL)
    examples = read_examples([file])
    assert examples.examples == (
        Example("rain in Paris?", ("weather",), (MarkedSlot("city", 8, 13),), f"{file}:1"),
        Example("hi, rain in Rome", ("greet", "weather"), (MarkedSlot("city", 12, 16, "x"),), f"{file}:3"),
        Example("in New York now", ("weather",), (MarkedSlot("city", 3, 11),), f"{file}:4"),
        Example("thanks", ("thanks",), (), f"{file}:5", "positive"),
    )
    assert examples.synonyms == {"paris": "PAR"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_any_separator(tmp_path: Path, separator: str) -> None:
    file = _written(tmp_path, "a.csv", _CSV if separator == "," else "text;intent\nhi;greet\n".replace(";", separator))
    examples = read_examples([file]).examples
    if separator == ",":
        assert examples == (
            Example("rain in Paris?", ("weather",), (MarkedSlot("city", 8, 13),), f"{file}:2"),
            Example("two\nlines", ("greet", "weather"), (), f"{file}:3", "negative"),
        )
    else:
        assert examples == (Example("hi", ("greet",), (), f"{file}:2"),)


@pytest.mark.parametrize(
    ("name", "text", "line", "word"),
    [
        ("a.jsonl", '{"text": "x", "intent": "a"}\n{', 2, "JSON"),
        ("a.jsonl", '"text"', 1, "object"),
        ("a.jsonl", '{"text": "x"}', 1, "intent"),
        ("a.jsonl", '{"text": " ", "intent": "a"}', 1, "text"),
        ("a.jsonl", '{"text": "x", "intent": "a+out_of_scope"}', 1, "stands alone"),
        ("a.jsonl", '{"text": "x", "intent": "a", "slots": [{"name": "b", "start": 0, "end": 2}]}', 1, "within"),
        ("a.jsonl", '{"text": "x x", "intent": "a", "slots": [{"name": "b", "text": "x"}]}', 1, "occurs once"),
        ("a.jsonl", '{"text": "x", "intent": "a", "slots": [{"nome": "b"}]}', 1, "object of"),
        (
            "a.jsonl",
            '{"tokens": ["x"], "intent": "a"}\n{"tokens": ["x"], "slots": ["O", "O"]}',
            2,
            "length",
        ),
        ("a.csv", "text\nx", 1, "intent"),
        ("a.csv", "text,intent,slots\nx,a,{", 2, "JSON"),
        ("a.csv", "text,intent\nx,a\ny,", 3, "intent"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, name: str, text: str, line: int, word: str) -> None:
    file = _written(tmp_path, name, text)
    with pytest.raises(Misconfigured, match=word) as caught:
        read_examples([file])
    assert f"{file}:{line}: " in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"\.jsonl"):
        read_examples([_written(tmp_path, "a.txt", "hello")])
