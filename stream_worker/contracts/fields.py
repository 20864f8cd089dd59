"""Annotated types that several contracts share."""

from typing import Annotated

import orjson
from pydantic import AfterValidator, Field, Strict

Identifier = Annotated[str, Field(min_length=1, max_length=512)]
"""An opaque id; never parsed."""

Millis = Annotated[int, Strict(), Field(ge=0, lt=2**53)]
"""Milliseconds since the epoch, UTC."""

Count = Annotated[int, Strict(), Field(ge=0, lt=2**53)]

Seconds = Annotated[float, Field(ge=0)]

Score = Annotated[float, Field(ge=0, le=1)]

METADATA_BYTES = 4096


def _writable(value: dict[str, object]) -> dict[str, object]:
    if value:
        _size(value)
    return value


def _small(value: dict[str, object]) -> dict[str, object]:
    if value and _size(value) > METADATA_BYTES:
        raise ValueError(f"it is larger than {METADATA_BYTES} bytes")
    return value


def _size(value: dict[str, object]) -> int:
    """Reading JSON may nest deeper than writing it: what cannot be written again, one level down, must not come in."""
    try:
        return len(orjson.dumps([value])) - 2
    except orjson.JSONEncodeError as error:
        raise ValueError("it nests too deep") from error


FreeJson = Annotated[dict[str, object], AfterValidator(_writable)]
"""A JSON object that we only pass on."""

Metadata = Annotated[dict[str, object], AfterValidator(_small)]
"""Free JSON, at most 4 KiB, copied from the event to its reply."""
