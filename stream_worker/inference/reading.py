"""Turns sampled ids into readable text as they come.

What always holds: the texts handed out add up to the whole text. A character
of several tokens is held back until it is complete, and so is what may be the
beginning of a stop string.
"""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_INCOMPLETE = "�"
"""What a decoder writes for bytes that are not a whole character yet."""


class Reader:
    """The text of one reply."""

    def __init__(self, decode: Decode, stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        self._ids: list[int] = []
        self._anchor = 0
        self._read = 0
        self._held = ""
        self.stopped = False
        """Whether a stop string was read. Nothing is handed out from it on."""

    def add(self, token: int) -> str:
        """The text that became readable with this id; often none."""
        self._ids.append(token)
        return self._stop_at(self._decoded(whole=False))

    def end(self) -> str:
        """What was held back. To be called once, when no id follows."""
        rest = self._stop_at(self._decoded(whole=True))
        held, self._held = self._held, ""
        return rest + held

    def _decoded(self, *, whole: bool) -> str:
        # Decoded from the last readable piece on: some tokenizers write a token differently at the beginning.
        before = self._decode(self._ids[self._anchor : self._read])
        now = self._decode(self._ids[self._anchor :])
        if len(now) <= len(before) or (now.endswith(_INCOMPLETE) and not whole):
            return ""
        self._anchor, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _stop_at(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)
