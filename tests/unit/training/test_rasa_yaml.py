"""Examples in Rasa's YAML: marks become spans of the plain text, and what is wrong is named by file and line."""

from pathlib import Path

import pytest

from stream_worker.errors import Misconfigured
from stream_worker.training.examples import MarkedSlot
from stream_worker.training.read import read_examples

_GOOD = """\
version: "3.1"
nlu:
  - intent: weather
    examples: |
      - will it rain in [Paris](location) [tomorrow](date)?

      # a comment
      - weather in [the big apple]{"entity": "location", "value": "New York"}
      - 你好[北京](location)
  - intent: greet
    examples:
      - text: |
          hello there
      - hi
  - synonym: New York
    examples: |
      - NYC
  - lookup: location
    examples: |
      - Rome
      - Oslo
"""


def _written(folder: Path, text: str, name: str = "nlu.yml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_marks_become_spans_of_the_plain_text(tmp_path: Path) -> None:
    file = _written(tmp_path, _GOOD)
    examples = read_examples([file])
    assert [example.text for example in examples.examples] == [
        "will it rain in Paris tomorrow?",
        "weather in the big apple",
        "你好北京",
        "hello there",
        "hi",
    ]
    first = examples.examples[0]
    assert first.slots == (MarkedSlot("location", 16, 21), MarkedSlot("date", 22, 30))
    assert examples.examples[2].slots == (MarkedSlot("location", 2, 4),)
    assert [example.place for example in examples.examples] == [f"{file}:{line}" for line in (5, 8, 9, 12, 14)]
    assert examples.slot_names == ("date", "location")


def test_values_and_synonyms_stand_for_what_was_written(tmp_path: Path) -> None:
    examples = read_examples([_written(tmp_path, _GOOD)])
    assert examples.synonyms == {"the big apple": "New York", "nyc": "New York"}
    assert examples.lookups == {"location": ("Rome", "Oslo")}


def test_a_folder_is_all_its_files_together(tmp_path: Path) -> None:
    _written(tmp_path, _GOOD)
    _written(
        tmp_path,
        "nlu:\n- intent: bye\n  examples: |\n    - bye\n- lookup: location\n  examples: |\n    - Bern\n",
        "b.yaml",
    )
    _written(tmp_path, "not: examples", "other.txt")
    examples = read_examples([tmp_path])
    assert {example.intent for example in examples.examples} == {"weather", "greet", "bye"}
    assert set(examples.lookups["location"]) == {"Rome", "Oslo", "Bern"}


def test_the_hash_is_of_what_is_learnt_not_of_where_it_stands(tmp_path: Path) -> None:
    first = read_examples([_written(tmp_path, _GOOD)])
    moved = read_examples([_written(tmp_path, "# moved\n" + _GOOD, "moved.yml")])
    changed = read_examples([_written(tmp_path, _GOOD.replace("Oslo", "Bergen"), "changed.yml")])
    assert first.hash == moved.hash != changed.hash


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("nlu: [", 1, "YAML"),
        ("intents: []", 1, "nlu"),
        ("nlu:\n- hello", 2, "mapping"),
        ("nlu:\n- regex: zip\n  examples: |\n    - x\n    - (", 5, "regular expression"),
        ("nlu:\n- story: x", 2, "regex"),
        ('version: "4.0"\nnlu: []', 1, "version"),
        ("nlu:\n- intent: a+\n  examples: |\n    - x", 2, "joined"),
        ("nlu:\n- intent: a+out_of_scope\n  examples: |\n    - x", 2, "stands alone"),
        ("nlu:\n- intent: a\n  example: |\n    - x", 2, "metadata"),
        ("nlu:\n- intent: a\n  metadata: {sentiment: sad}\n  examples: |\n    - x", 2, "negative"),
        ("nlu:\n- intent: a\n  examples: 3", 2, "examples"),
        ("nlu:\n- intent: a\n  examples: |\n    - x\n    y", 5, "- text"),
        ("nlu:\n- intent: a\n  examples:\n    - text: ''", 4, "text"),
        ("nlu:\n- intent: a\n  examples: |\n    - in [x](two words)", 4, "slot"),
        ('nlu:\n- intent: a\n  examples: |\n    - ok\n    - in [x]{"entity": }', 5, "JSON"),
        ('nlu:\n- intent: a\n  examples: |\n    - in [x]{"entity": "y", "rule": "z"}', 4, "rule"),
        ("nlu:\n- intent: a\n  examples: |\n    - in [x](", 4, "mark"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    file = _written(tmp_path, text)
    with pytest.raises(Misconfigured, match=word) as caught:
        read_examples([file])
    assert f"{file}:{line}: " in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.yml"):
        read_examples([tmp_path / "none.yml"])
    with pytest.raises(Misconfigured, match="no examples"):
        read_examples([_written(tmp_path, "nlu: []")])


def test_marks_in_all_their_forms(tmp_path: Path) -> None:
    text = """\
nlu:
- intent: book+greet
  metadata: {sentiment: positive}
  examples: |
    - from [Rome]{"entity": "city", "role": "from", "group": "1"} to [NYC](city:New York)
    - by [train][{"entity": "vehicle"}, {"entity": "thing"}]
- regex: order
  examples: |
    - \\d{4}-\\d{4}
"""
    examples = read_examples([_written(tmp_path, text)])
    first, second = examples.examples
    assert (first.text, first.intents, first.sentiment) == ("from Rome to NYC", ("book", "greet"), "positive")
    assert first.slots == (MarkedSlot("city", 5, 9, "from", "1"), MarkedSlot("city", 13, 16))
    assert second.slots == (MarkedSlot("vehicle", 3, 8),)
    assert examples.synonyms == {"nyc": "New York"}
    assert examples.regexes == {"order": (r"\d{4}-\d{4}",)}
    assert examples.intents == ("book", "greet")
