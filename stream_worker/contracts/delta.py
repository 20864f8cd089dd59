"""`chat.deltas`: previews of a reply while it is being generated. Not transactional.

A consumer keeps the highest `(term, attempt)` of a turn; a new one replaces
what was shown. `at` counts the code points before this text, so a gap shows;
after one, wait for the reply. The reply is the truth.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stream_worker.contracts.fields import Count, Identifier
from stream_worker.contracts.versions import Versions


class DeltaState(StrEnum):
    OPEN = "open"
    DONE = "done"
    VOID = "void"


@dataclass(kw_only=True)
class Delta:
    version: Literal[1] = 1
    """Version of this schema."""

    turn_id: Identifier
    """The turn whose reply is being generated."""

    conversation_id: Identifier
    """The conversation."""

    tenant: str
    """The tenant; empty without tenants."""

    term: Count
    """Term of the partition; a higher one wins."""

    attempt: Count
    """Attempt of the turn within its term; a higher one wins."""

    seq: Count
    """Number of the delta within its attempt, from 0."""

    state: DeltaState
    """Whether more follows, the text is complete, or what was shown is void."""

    at: Count
    """Code points of the attempt's text before this delta."""

    text: str
    """The text that follows there."""

    versions: Versions
    """What produced it."""
