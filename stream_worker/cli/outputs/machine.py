"""This installation: versions, settings, schemas, and what was found wrong."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from stream_worker.doctor.finding import Group, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledVersion:
    name: str
    """The package, or `python`."""

    version: str
    """The version that is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingValue:
    setting: str
    """Its name, with dots."""

    value: JsonValue
    """The value in force; `***` for a secret."""

    source: str
    """Where it comes from: `default`, file and line, `env` and the variable, or `flag`."""


class Part(StrEnum):
    """What `config check` looks at; from `engine` on only with `--online`."""

    SETTINGS = "settings"
    CLIENTS = "clients"
    BOTS = "bots"
    ENGINE = "engine"
    SERVER = "server"
    ENCODER = "encoder"
    TOPICS = "topics"


class Result(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPart:
    part: Part
    """What was looked at."""

    result: Result
    """Warnings and errors end the command with exit code 1."""

    what: str
    """What was found."""

    cure: str
    """The command or change that cures it; empty where nothing is wrong."""


class SchemaFault(StrEnum):
    """`broken`: who relies on the older schema would be broken by the change."""

    STALE = "stale"
    UNKNOWN = "unknown"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFinding:
    fault: SchemaFault
    """What kind of fault it is."""

    what: str
    """The file or field, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCheck:
    check: str
    """What the worker was asked for."""

    holds: bool
    """Whether it is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What a worker's probe says."""

    healthy: bool
    """Whether all of it holds."""

    checks: dict[str, bool]
    """What the worker was asked for, and whether it is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFinding:
    group: Group
    """What it belongs to."""

    name: str
    """A stable name within the group."""

    mark: Mark
    """`skipped` could not be looked at, because of what another finding says."""

    what: str
    """What was found."""

    why: str
    """Why it matters; empty where all is fine."""

    cure: str
    """The command or change that cures it; empty where all is fine."""

    docs: str
    """The page that says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """What doctor found."""

    healthy: bool
    """Whether there is no error, and with `--strict` no warning."""

    seconds: dict[str, float]
    """How long each group took."""

    findings: list[DoctorFinding]
    """All of them, those that are fine included."""
