"""What is told of a settlement: once, when it is committed. Data, so that one that is taken back tells nothing."""

from msgspec import Struct

from stream_worker.contracts.metric import Timings
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.tokens import Usage
from stream_worker.turn import Turn


class ReplyReport(Struct, frozen=True, kw_only=True):
    """A reply, the fallback's included. `outcome` is that of the turn's first event; `reason` of a dead one."""

    turn: Turn
    outcome: Outcome = Outcome.REPLIED
    reason: DeadLetterReason | None = None
    intent: str | None
    finish_reason: FinishReason
    timings: Timings
    usage: Usage | None
    decision: str = ""
    intent_score: float | None = None
    text: str = ""
    """What was answered. For traces that are told to hold it, and for nothing else."""
    texts: int = 0
    """Texts in the encoder's pass; 0 without one."""


class Report(Struct, frozen=True, kw_only=True):
    """`outcomes` are those of the settlement's records, in their order; `reason` and `detail` of the dead ones."""

    outcomes: tuple[Outcome, ...]
    reason: DeadLetterReason | None = None
    detail: str = ""
    reply: ReplyReport | None = None
    commands: tuple[str, ...] = ()
    handed_over: bool | None = None
    """Whether a human has the conversation now; None where that did not change."""
