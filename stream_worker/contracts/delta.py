"""`chat.deltas`: previews of a reply while it is being generated. Not transactional.

A consumer keeps the highest `(term, attempt)` of a turn; a new one replaces
what was shown. `at` counts the code points before this text, so a gap shows;
after one, wait for the reply. The reply is the truth.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stream_worker.contracts.fields import Count, Identifier


class DeltaState(StrEnum):
    OPEN = "open"
    DONE = "done"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    version: Literal[1] = 1
    turn_id: Identifier
    conversation_id: Identifier
    tenant: str
    term: Count
    attempt: Count
    seq: Count
    state: DeltaState
    at: Count
    text: str
