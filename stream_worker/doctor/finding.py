"""What doctor says of one thing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

_PAGE = "docs/operations/doctor.md"


class Group(StrEnum):
    RUNTIME = "runtime"
    DEVICE = "device"
    MODEL = "model"
    BROKER = "broker"
    TOPICS = "topics"
    RIGHTS = "rights"
    GROUP = "group"
    BOT = "bot"
    WATCHING = "watching"


class Mark(StrEnum):
    """`skipped`: it could not be looked at, because of what another finding says."""

    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`what` was found, `why` it matters, and the command or change that cures it. Secrets are in none of them."""

    group: Group
    name: str
    mark: Mark
    what: str
    why: str = ""
    cure: str = ""

    @property
    def docs(self) -> str:
        return f"{_PAGE}#{self.group}"


@dataclass(frozen=True, slots=True)
class Says:
    """Makes the findings of one group."""

    group: Group

    def fine(self, name: str, what: str) -> Finding:
        return Finding(group=self.group, name=name, mark=Mark.FINE, what=what)

    def warning(self, name: str, what: str, why: str, cure: str) -> Finding:
        return Finding(group=self.group, name=name, mark=Mark.WARNING, what=what, why=why, cure=cure)

    def error(self, name: str, what: str, why: str, cure: str) -> Finding:
        return Finding(group=self.group, name=name, mark=Mark.ERROR, what=what, why=why, cure=cure)

    def skipped(self, name: str, what: str) -> Finding:
        return Finding(group=self.group, name=name, mark=Mark.SKIPPED, what=what)


Check = Callable[[], Iterable[Finding]]
