"""Annotated types that several contracts share."""

from typing import Annotated

from pydantic import Field, Strict

Identifier = Annotated[str, Field(min_length=1, max_length=512)]
"""An opaque id; never parsed."""

Millis = Annotated[int, Strict(), Field(ge=0, lt=2**53)]
"""Milliseconds since the epoch, UTC."""

Count = Annotated[int, Strict(), Field(ge=0, lt=2**53)]

Seconds = Annotated[float, Field(ge=0)]

Score = Annotated[float, Field(ge=0, le=1)]

Metadata = dict[str, object]
"""Free JSON, at most 4 KiB, copied from the event to its reply."""

METADATA_BYTES = 4096
