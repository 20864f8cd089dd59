"""What produced a record: named in every output, so that a reply can be traced to its makers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    worker: str
    settings: str
    bot: str
    bot_version: str
    model: str
