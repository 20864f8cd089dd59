"""Reads examples from JSON lines and CSV.

A row has `text` and `intent`, and may have `slots` and `sentiment`:

    {"text": "rain in Paris?", "intent": "weather", "slots": [{"name": "city", "start": 8, "end": 13}]}

`intent` is a name, several joined by `+`, or (JSON only) a list. A slot may also have `role`, `group` and `value`, and
gives either `start` and `end` in code points or, where its text occurs once, `text`. In a CSV file `slots` is JSON.
Instead of `text` and spans a row may have `tokens` and `slots` as IOB labels, as the published sets have them.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

from stream_worker.errors import Code, Misconfigured
from stream_worker.training.examples import OUT_OF_SCOPE, SENTIMENTS, Example, Examples, MarkedSlot

_COLUMNS = ("text", "tokens", "intent", "slots", "sentiment")
_SLOT_FIELDS = {"name", "entity", "start", "end", "text", "value", "role", "group"}


def read_jsonl(file: Path, content: str) -> Examples:
    """One object a line. Raises Misconfigured with file and line of what is wrong."""
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            _refuse(file, number, f"not JSON: {error}")
        if not isinstance(row, dict):
            _refuse(file, number, "a line is an object with `text` and `intent`")
        rows.append((number, row))
    return _examples(file, rows)


def read_csv(file: Path, content: str) -> Examples:
    """With a header; fields apart by comma, semicolon or tab. Raises Misconfigured as `read_jsonl`."""
    header = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(StringIO(content, newline=""), delimiter=delimiter, strict=True)
    if missing := {"text", "intent"} - set(reader.fieldnames or ()):
        _refuse(file, 1, f"the header lacks {' and '.join(sorted(missing))}")
    return _examples(file, _csv_rows(file, reader))


def _csv_rows(file: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 2
    try:
        for row in reader:
            given: dict[str, Any] = {name: value for name, value in row.items() if value}
            if "slots" in given:
                try:
                    given["slots"] = json.loads(given["slots"])
                except ValueError as error:
                    _refuse(file, number, f"the slots are not JSON: {error}")
            yield number, given
            number = reader.line_num + 1
    except csv.Error as error:
        _refuse(file, reader.line_num, f"not CSV: {error}")


def _examples(
    file: Path, rows: "Iterator[tuple[int, Mapping[str, Any]]] | list[tuple[int, Mapping[str, Any]]]"
) -> Examples:
    examples: list[Example] = []
    synonyms: dict[str, str] = {}
    for number, row in rows:
        examples.append(_Row(file, number, row, synonyms).example())
    return Examples(tuple(examples), synonyms)


class _Row:
    def __init__(self, file: Path, number: int, row: Mapping[str, Any], synonyms: dict[str, str]) -> None:
        self._place = (file, number)
        self._row = row
        self._synonyms = synonyms

    def example(self) -> Example:
        text, slots = self._labelled() if "tokens" in self._row else self._spanned()
        sentiment = self._row.get("sentiment")
        if sentiment is not None and sentiment not in SENTIMENTS:
            self._refuse(f"a sentiment is one of {', '.join(SENTIMENTS)}")
        return Example(text, self._intents(), slots, "{}:{}".format(*self._place), sentiment)

    def _intents(self) -> tuple[str, ...]:
        given = self._row.get("intent")
        names = given.split("+") if isinstance(given, str) else given
        if (
            not isinstance(names, list)
            or not names
            or not all(isinstance(name, str) and name.strip() for name in names)
        ):
            self._refuse("`intent` is a name, or several joined by `+`")
        intents = tuple(dict.fromkeys(name.strip() for name in names))
        if len(intents) > 1 and OUT_OF_SCOPE in intents:
            self._refuse(f"{OUT_OF_SCOPE} stands alone: a text that is partly in scope has its other intents")
        return intents

    def _spanned(self) -> tuple[str, tuple[MarkedSlot, ...]]:
        text = self._row.get("text")
        if not isinstance(text, str) or not text.strip():
            self._refuse("a row has a `text`")
        given = self._row.get("slots", ())
        if not isinstance(given, list | tuple):
            self._refuse("`slots` is a list")
        return text, tuple(sorted((self._slot(text, slot) for slot in given), key=lambda slot: slot.start))

    def _slot(self, text: str, given: Any) -> MarkedSlot:
        if not isinstance(given, dict) or set(given) - _SLOT_FIELDS:
            self._refuse(f"a slot is an object of {', '.join(sorted(_SLOT_FIELDS))}")
        name = given.get("name", given.get("entity"))
        start, end = given.get("start"), given.get("end")
        if start is None and isinstance(value := given.get("text"), str) and text.count(value) == 1:
            start = text.index(value)
            end = start + len(value)
        if not isinstance(name, str) or not name or not isinstance(start, int) or not isinstance(end, int):
            self._refuse("a slot has a `name`, and `start` and `end`, or a `text` that occurs once")
        if not 0 <= start < end <= len(text):
            self._refuse(f"a slot from {start} to {end} is not within the text of {len(text)} code points")
        if given.get("value") is not None:
            self._synonyms[text[start:end].lower()] = str(given["value"])
        return MarkedSlot(name, start, end, given.get("role"), given.get("group"))

    def _labelled(self) -> tuple[str, tuple[MarkedSlot, ...]]:
        tokens, labels = self._row["tokens"], self._row.get("slots") or ["O"] * len(self._row["tokens"])
        if not isinstance(tokens, list) or len(tokens) != len(labels):
            self._refuse("`tokens` and `slots` are lists of one length")
        slots: list[MarkedSlot] = []
        at = 0
        for token, label in zip(tokens, labels, strict=True):
            name = label[2:]
            if label[:1] == "I" and slots and slots[-1].name == name and slots[-1].end == at - 1:
                slots[-1] = MarkedSlot(name, slots[-1].start, at + len(token))
            elif label != "O":
                slots.append(MarkedSlot(name, at, at + len(token)))
            at += len(token) + 1
        return " ".join(tokens), tuple(slots)

    def _refuse(self, what: str) -> NoReturn:
        _refuse(*self._place, what)


def _refuse(file: Path, line: int, what: str) -> NoReturn:
    raise Misconfigured(Code.EXAMPLES_INVALID, f"{file}:{line}: {what}")
