"""What `nlu parse` recognises without examples, and for whom."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.bot.entities import Entity, EntityKind, expression_error, is_time_zone
from stream_worker.cli.outputs.understanding import EntityFound

if TYPE_CHECKING:
    from stream_worker.stages.entities.context import Context

_KINDS = ", ".join(EntityKind)
_ALL = "all"

EntityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--entity",
        help=f"What to recognise without examples: {_KINDS}, all, or NAME=EXPRESSION; several by repeating it.",
    ),
]
TimeZoneOption = Annotated[str, typer.Option("--time-zone", help="Where who writes is, such as Europe/Berlin.")]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", help="In which country (DE): whose phone numbers and dollars. Without: by the language."),
]
AtOption = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"],
        help="When it was written, in UTC: what tomorrow is. Without: now.",
    ),
]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Recognises the same in every text."""

    entities: tuple[Entity, ...]
    time_zone: str
    region: str | None
    at_ms: int

    @classmethod
    def of(cls, wanted: list[str], time_zone: str, region: str | None, at: datetime | None) -> "Recogniser":
        """Raises BadParameter for what is not known."""
        if not is_time_zone(time_zone):
            raise typer.BadParameter(
                f"{time_zone} is no IANA time zone, such as Europe/Berlin", param_hint="--time-zone"
            )
        moment = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
        entities = dict.fromkeys(entity for one in wanted for entity in _entities(one))
        return cls(tuple(entities), time_zone, region.upper() if region else None, int(moment.timestamp() * 1000))

    def found(self, text: str, language: str) -> list[EntityFound]:
        """With offsets in code points."""
        if not self.entities:
            return []
        from stream_worker.stages.entities.recogniser import recognise

        spans = recognise(self.entities, text, self._context(language))
        return [EntityFound(name=one.name, value=one.value, start=one.start, end=one.end) for one in spans]

    def _context(self, language: str) -> "Context":
        from stream_worker.stages.entities.context import context_of

        return context_of(self.at_ms, language, region=self.region, zone=self.time_zone)


def _entities(wanted: str) -> list[Entity]:
    if wanted == _ALL:
        return [Entity(kind.value, kind) for kind in EntityKind]
    name, given, expression = wanted.partition("=")
    if given:
        if wrong := expression_error(expression):
            raise typer.BadParameter(f"{name}: not a regular expression of RE2: {wrong}", param_hint="--entity")
        return [Entity(name, expression)]
    if name not in list(EntityKind):
        raise typer.BadParameter(f"{name} is none of {_KINDS}, all, NAME=EXPRESSION", param_hint="--entity")
    return [Entity(name, EntityKind(name))]
