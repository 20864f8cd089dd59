"""What produced a record: named in every output, so that a reply can be traced to its makers."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Versions:
    worker: str
    """Version of stream_worker."""

    settings: str
    """Short hash of the settings, secrets left out."""

    bot: str
    """Name of the bot; empty where none had a part in it."""

    bot_version: str
    """Version of the bot file."""

    model: str
    """Name of the language model."""
