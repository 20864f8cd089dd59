"""Reads examples from Rasa's NLU YAML (3.1): intents with `[marked](slot)` texts, synonyms, lookup tables, regexes.

What is not understood is refused with file and line, never passed over.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarstring import LiteralScalarString

from stream_worker.errors import Code, Misconfigured
from stream_worker.training.examples import OUT_OF_SCOPE, SENTIMENTS, Example, Examples
from stream_worker.training.marks import unmark

_KINDS = ("intent", "synonym", "lookup", "regex")
_KEYS = {"examples", "metadata"}


def read_rasa_yaml(file: Path, content: str) -> Examples:
    """The examples of one file. Raises Misconfigured with file and line of what is wrong."""
    return _Reader(file).read(content)


class _Reader:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._examples: list[Example] = []
        self._synonyms: dict[str, str] = {}
        self._lookups: dict[str, tuple[str, ...]] = {}
        self._regexes: dict[str, tuple[str, ...]] = {}

    def read(self, content: str) -> Examples:
        for line, item in self._items(content):
            self._add(line, item)
        return Examples(tuple(self._examples), self._synonyms, self._lookups, self._regexes)

    def _items(self, content: str) -> Iterator[tuple[int, CommentedMap]]:
        """The entries of the file, each with its line."""
        try:
            document = YAML(typ="rt").load(content)
        except MarkedYAMLError as error:
            mark = error.problem_mark
            self._refuse(mark.line + 1 if mark else 1, f"not YAML: {error.problem}")
        version = str(document.get("version", "3.1")) if isinstance(document, CommentedMap) else ""
        entries = document.get("nlu") if isinstance(document, CommentedMap) else None
        if not isinstance(entries, CommentedSeq):
            self._refuse(1, "a file of examples has a list `nlu:`")
        if not version.startswith(("2.", "3.")):
            self._refuse(
                document.lc.data["version"][0] + 1, f"version {version} of the format is not known; this is 3.1"
            )
        for index, item in enumerate(entries):
            line = entries.lc.data[index][0] + 1
            if not isinstance(item, CommentedMap):
                self._refuse(line, "an entry is a mapping that begins with `- intent: NAME`")
            yield line, item

    def _add(self, line: int, item: CommentedMap) -> None:
        kind = next((kind for kind in _KINDS if kind in item), None)
        if kind is None:
            self._refuse(line, f"an entry begins with one of {', '.join(_KINDS)}; this has {', '.join(item)}")
        if unknown := set(item) - _KEYS - {kind}:
            self._refuse(line, f"an entry has {kind}, examples and metadata, not {', '.join(sorted(unknown))}")
        name = str(item[kind]).strip()
        texts = list(self._texts(line, item))
        match kind:
            case "synonym":
                self._synonyms.update((text.lower(), name) for _, text, _ in texts)
            case "lookup":
                self._lookups[name] = (*self._lookups.get(name, ()), *(text for _, text, _ in texts))
            case "regex":
                self._regexes[name] = (
                    *self._regexes.get(name, ()),
                    *(self._pattern(at, text) for at, text, _ in texts),
                )
            case _:
                intents = self._intents(line, name)
                self._examples += [self._example(at, intents, text, mood) for at, text, mood in texts]

    def _intents(self, line: int, name: str) -> tuple[str, ...]:
        intents = tuple(part.strip() for part in name.split("+"))
        if not all(intents) or len(set(intents)) < len(intents):
            self._refuse(line, "intents joined by `+` are different names: `- intent: greet+weather`")
        if len(intents) > 1 and OUT_OF_SCOPE in intents:
            self._refuse(line, f"{OUT_OF_SCOPE} stands alone: a text that is partly in scope has its other intents")
        return intents

    def _example(self, line: int, intents: tuple[str, ...], marked: str, sentiment: str | None) -> Example:
        plain = unmark(marked, lambda what: self._refuse(line, what))
        self._synonyms.update(plain.synonyms)
        return Example(plain.text, intents, plain.slots, f"{self._file}:{line}", sentiment)

    def _pattern(self, line: int, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            self._refuse(line, f"not a regular expression: {error}")
        return text

    def _texts(self, line: int, item: CommentedMap) -> Iterator[tuple[int, str, str | None]]:
        """The entry's examples with line and sentiment: `examples: |` with dashes, or a list with `text:`."""
        mood = self._sentiment(line, item)
        listed: Any = item.get("examples")
        if isinstance(listed, str):
            # A block begins in the line after its key, and a plain text beside it.
            first = item.lc.data["examples"][2] + (2 if isinstance(listed, LiteralScalarString) else 1)
            for at, text in self._dashed(first, listed):
                yield at, text, mood
        elif isinstance(listed, CommentedSeq):
            for index, entry in enumerate(listed):
                at = listed.lc.data[index][0] + 1
                text = entry.get("text") if isinstance(entry, CommentedMap) else entry
                if not isinstance(text, str) or not text.strip():
                    self._refuse(at, "an example is a text, or a mapping with `text:`")
                own = self._sentiment(at, entry) if isinstance(entry, CommentedMap) else None
                # Rasa itself writes such a text with a dash, too.
                yield at, text.strip().removeprefix("- ").strip(), own or mood
        else:
            self._refuse(line, "an entry has `examples: |` with one `- example` a line")

    def _sentiment(self, line: int, item: CommentedMap) -> str | None:
        """Of `metadata: {sentiment: ...}`; other metadata is the user's own."""
        metadata = item.get("metadata")
        mood = metadata.get("sentiment") if isinstance(metadata, CommentedMap) else None
        if mood is not None and mood not in SENTIMENTS:
            self._refuse(line, f"a sentiment is one of {', '.join(SENTIMENTS)}")
        return mood

    def _dashed(self, first: int, block: str) -> Iterator[tuple[int, str]]:
        for number, row in enumerate(block.split("\n"), start=first):
            text = row.strip()
            if not text or text.startswith("#"):
                continue
            if not text.startswith("-") or not text[1:].strip():
                self._refuse(number, "an example is a line `- text`")
            yield number, text[1:].strip()

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise Misconfigured(Code.EXAMPLES_INVALID, f"{self._file}:{line}: {what}")
