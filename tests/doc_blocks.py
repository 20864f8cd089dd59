"""Code blocks of the docs, by CommonMark's own rules, and the commands in them."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Block:
    """`line` counts from 1."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What is typed, of a block that shows a terminal."""
        lines = self.text.splitlines()
        return [line[2:] for line in lines if line.startswith("$ ")]


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(files: Sequence[Path]) -> Iterator[Block]:
    for file in files:
        for token in MarkdownIt().parse(file.read_text(encoding="utf-8")):
            if token.type == "fence" and token.map is not None:
                yield Block(file, token.map[0] + 1, token.info.strip(), token.content)


def simple_commands(line: str) -> list[list[str]]:
    """The words of each command of a line, without redirections: `a | b > c && d` is a, b and d."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    leaves_out = False
    for word in lexer:
        if re.fullmatch(r"[|&;]+", word):
            found.append([])
        elif re.fullmatch(r"[<>]+", word):
            leaves_out = True
        elif leaves_out:
            leaves_out = False
        else:
            found[-1].append(word)
    return [words for words in found if words]
