"""Where a value of the settings came from, and what is wrong with one. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stream_worker.errors import Code, Misconfigured


class Origin(StrEnum):
    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "env"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Source:
    """`where` is `file:line:column`, the variable's name or the flag's; empty for a default."""

    origin: Origin
    where: str = ""

    def __str__(self) -> str:
        match self.origin:
            case Origin.DEFAULT:
                return "default"
            case Origin.FILE:
                return self.where
            case _:
                return f"{self.origin} {self.where}"


DEFAULT = Source(Origin.DEFAULT)


def in_file(file: Path, line: int, column: int) -> Source:
    """Line and column count from 1."""
    return Source(Origin.FILE, f"{file}:{line}:{column}")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that a person must change."""

    code: Code
    source: Source
    sentence: str

    def __str__(self) -> str:
        match self.source.origin:
            case Origin.DEFAULT:
                return self.sentence
            case Origin.FLAG:
                return f"option {self.source.where}: {self.sentence}"
            case _:
                return f"{self.source.where}: {self.sentence}"


def refuse(complaints: list[Complaint]) -> Misconfigured:
    """One error that lists them all, under the code of the first."""
    return Misconfigured(complaints[0].code, "\n".join(str(complaint) for complaint in complaints))
