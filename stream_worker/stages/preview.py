"""The preview of one reply while it is generated: when text leaves, and as which delta. Pure.

Text is gathered for an interval. Under `checked` only whole sentences leave,
and none once the output check has found something: then the reader waits for
the reply. Each delta says how many code points came before it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stream_worker.contracts.delta import DeltaState

_SENTENCE_ENDS = ".!?。！？…\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """One delta's own part; `at` counts the code points before it."""

    seq: int
    state: DeltaState
    at: int
    text: str


class Preview:
    """Owned by the worker thread. `passes` is the output check for `checked`, None for `raw`."""

    def __init__(self, interval_s: float, passes: Callable[[str], bool] | None) -> None:
        self._interval = interval_s
        self._passes = passes
        self._text = ""
        self._sent = 0
        self._seq = 0
        self._next_at = 0.0
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether anything has left, so that a reader must be told how it ends."""
        return self._seq > 0

    def add(self, text: str) -> None:
        self._text += text

    def due(self, now: float) -> Piece | None:
        """What leaves now, if anything."""
        if self._closed or now < self._next_at:
            return None
        end = self._releasable()
        if end <= self._sent:
            return None
        self._next_at = now + self._interval
        return self._piece(DeltaState.OPEN, end)

    def done(self, reply: str) -> Piece | None:
        """The last piece. A reply that is not what was shown needs none: the reply replaces it."""
        if self._closed:
            return None
        self._closed = True
        if not reply.startswith(self._text[: self._sent]):
            return self._void() if self.started else None
        self._text = reply
        return self._piece(DeltaState.DONE, len(reply))

    def void(self) -> Piece | None:
        """There will be no reply; None where nothing was shown."""
        if self._closed or not self.started:
            return None
        self._closed = True
        return self._void()

    def _releasable(self) -> int:
        if self._passes is None:
            return len(self._text)
        end = max(self._text.rfind(mark) for mark in _SENTENCE_ENDS) + 1
        return end if end > self._sent and self._passes(self._text[:end]) else self._sent

    def _piece(self, state: DeltaState, end: int) -> Piece:
        piece = Piece(self._seq, state, self._sent, self._text[self._sent : end])
        self._seq += 1
        self._sent = end
        return piece

    def _void(self) -> Piece:
        piece = Piece(self._seq, DeltaState.VOID, self._sent, "")
        self._seq += 1
        return piece
