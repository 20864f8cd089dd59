"""Settings as the file that commands read."""

from pathlib import Path

import orjson

from stream_worker.settings import Settings

NAME = "stream-worker.yaml"


def written(settings: Settings, folder: Path) -> Path:
    """The file, made in that folder: JSON is YAML."""
    file = folder / NAME
    file.write_bytes(orjson.dumps(settings.model_dump(mode="json", exclude_defaults=True)))
    return file
