"""Reads examples from Rasa's NLU YAML (3.1): intents with `[marked](slot)` texts, synonyms, lookup lists.

What is not understood is refused with file and line, never passed over.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarstring import LiteralScalarString

from stream_worker.errors import Code, Misconfigured
from stream_worker.training.examples import Example, Examples, MarkedSlot, merge

_MARK = re.compile(r"\[(?P<text>[^\[\]]+)\](?:\((?P<name>[^()]+)\)|(?P<fields>\{[^{}]*\}))")
_NAME = re.compile(r"[^\s:()\[\]]+")
_FIELDS = {"entity", "value"}
_KINDS = ("intent", "synonym", "lookup")


def read_examples(paths: Sequence[Path]) -> Examples:
    """All examples of these files, and of the `.yml` and `.yaml` files in these folders.

    Raises Misconfigured with file and line of what is wrong.
    """
    files = [file for path in paths for file in _files(path)]
    examples = merge([_read_file(file) for file in files])
    if not examples.examples:
        named = ", ".join(str(path) for path in paths)
        raise Misconfigured(Code.EXAMPLES_INVALID, f"no examples of any intent in {named}")
    return examples


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in {".yml", ".yaml"})


def _read_file(file: Path) -> Examples:
    examples: list[Example] = []
    synonyms: dict[str, str] = {}
    lookups: dict[str, tuple[str, ...]] = {}
    for line, item in _items(file):
        kind = next((kind for kind in _KINDS if kind in item), None)
        if kind is None:
            raise _invalid(file, line, f"an entry begins with one of {', '.join(_KINDS)}; this has {', '.join(item)}")
        name = str(item[kind])
        texts = list(_texts(file, line, item))
        match kind:
            case "synonym":
                synonyms.update((text.lower(), name) for _, text in texts)
            case "lookup":
                lookups[name] = (*lookups.get(name, ()), *(text for _, text in texts))
            case _:
                examples += [_example(file, at, name, text, synonyms) for at, text in texts]
    return Examples(tuple(examples), synonyms, lookups)


def _items(file: Path) -> Iterator[tuple[int, CommentedMap]]:
    """The entries of the file, each with its line."""
    try:
        document = YAML(typ="rt").load(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Misconfigured(Code.EXAMPLES_INVALID, f"cannot read the examples {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(Code.EXAMPLES_INVALID, f"{file}: not UTF-8 at byte {error.start}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise _invalid(file, mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    entries = document.get("nlu") if isinstance(document, CommentedMap) else None
    if not isinstance(entries, CommentedSeq):
        raise _invalid(file, 1, "a file of examples has a list `nlu:`")
    for index, item in enumerate(entries):
        line = entries.lc.data[index][0] + 1
        if not isinstance(item, CommentedMap):
            raise _invalid(file, line, "an entry is a mapping that begins with `- intent: NAME`")
        yield line, item


def _texts(file: Path, line: int, item: CommentedMap) -> Iterator[tuple[int, str]]:
    """The entry's examples with their lines: `examples: |` with a dash before each, or a list with `text:`."""
    listed: Any = item.get("examples")
    if isinstance(listed, LiteralScalarString):
        first = item.lc.data["examples"][2] + 2
        yield from _dashed(file, first, listed)
    elif isinstance(listed, CommentedSeq):
        for index, entry in enumerate(listed):
            at = listed.lc.data[index][0] + 1
            text = entry.get("text") if isinstance(entry, CommentedMap) else entry
            if not isinstance(text, str) or not text.strip():
                raise _invalid(file, at, "an example is a text, or a mapping with `text:`")
            yield at, text.strip()
    else:
        raise _invalid(file, line, "an entry has `examples: |` with one `- example` a line")


def _dashed(file: Path, first: int, block: str) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(block.split("\n"), start=first):
        text = row.strip()
        if not text or text.startswith("#"):
            continue
        if not text.startswith("-") or not text[1:].strip():
            raise _invalid(file, number, "an example is a line `- text`")
        yield number, text[1:].strip()


def _example(file: Path, line: int, intent: str, marked: str, synonyms: dict[str, str]) -> Example:
    """The text without its marks. A mark with a `value` is a synonym, too."""
    pieces: list[str] = []
    slots: list[MarkedSlot] = []
    length = last = 0
    for found in _MARK.finditer(marked):
        before, inside = marked[last : found.start()], found["text"]
        name, value = _mark(file, line, found)
        if value is not None:
            synonyms[inside.lower()] = value
        start = length + len(before)
        length = start + len(inside)
        slots.append(MarkedSlot(name, start, length))
        pieces += [before, inside]
        last = found.end()
    text = "".join([*pieces, marked[last:]])
    if "](" in text or "]{" in text:
        raise _invalid(file, line, 'a mark is `[text](slot)` or `[text]{"entity": "slot"}`')
    return Example(text, intent, tuple(slots), f"{file}:{line}")


def _mark(file: Path, line: int, found: re.Match[str]) -> tuple[str, str | None]:
    """Slot and value of a mark."""
    if found["fields"] is None:
        name, value = found["name"], None
    else:
        try:
            given = json.loads(found["fields"])
        except ValueError as error:
            raise _invalid(file, line, f"a mark's fields are JSON: {error}") from error
        if unknown := set(given) - _FIELDS:
            raise _invalid(file, line, f"a mark has `entity` and `value`, not {', '.join(sorted(unknown))}")
        name, value = str(given.get("entity", "")), given.get("value")
    if not _NAME.fullmatch(name):
        raise _invalid(file, line, "the name of a slot has no space, colon or bracket")
    return name, None if value is None else str(value)


def _invalid(file: Path, line: int, what: str) -> Misconfigured:
    return Misconfigured(Code.EXAMPLES_INVALID, f"{file}:{line}: {what}")
