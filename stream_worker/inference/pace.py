"""How long steps take, and so how much of a prompt may run beside lanes that decode. Pure.

What always holds: with the costs seen so far, a step with a chunk of one prompt takes at most `_STRETCH` times what a
step takes that only decodes; never less than a tile of rows, so that every prompt goes on.
"""

_STRETCH = 2.0
"""Aimed below the promise of three times, for a prompt's later chunks take longer than those it was learned from."""

_LEAST = 16
_WEIGHT = 0.2
"""Of the newest step in the running mean."""


class Pace:
    """Learns from each step. `most` is the chunk while nothing is known."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._decode_s = 0.0
        self._token_s = 0.0

    @property
    def chunk(self) -> int:
        """Tokens of one prompt in a step with decoding lanes: a multiple of 16."""
        if not self._decode_s or not self._token_s:
            return self._most
        fitting = int((_STRETCH - 1) * self._decode_s / self._token_s)
        return min(self._most, max(_LEAST, fitting // _LEAST * _LEAST))

    def learn(self, *, decoding: int, prompt_tokens: int, seconds: float) -> None:
        """A step of so many decoding lanes and tokens of prompts took `seconds`."""
        if prompt_tokens == 0:
            self._decode_s = _mean(self._decode_s, seconds)
        elif decoding == 0:
            if prompt_tokens >= _LEAST:
                self._token_s = _mean(self._token_s, seconds / prompt_tokens)
        elif self._decode_s:
            self._token_s = _mean(self._token_s, max(0.0, seconds - self._decode_s) / prompt_tokens)


def _mean(before: float, now: float) -> float:
    return before + _WEIGHT * (now - before) if before else now
