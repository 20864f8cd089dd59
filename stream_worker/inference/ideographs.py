"""Features of ideographic characters, for encoders that know few of them.

The vocabulary of an English encoder holds some hundred Chinese characters and reads
the rest as one unknown token: 开 (on) and 关 (off) look alike to it. So each text and
token also gets a few hashed features of its ideographs. Texts without them get zeros,
and are understood as before.
"""

from zlib import crc32

import torch
from torch import Tensor

TEXT_FEATURES = 256
TOKEN_FEATURES = 256
_FIRST = 0x2E80
"""CJK Radicals Supplement; letters from here on are East Asian, but for a few rare scripts."""

_TOKEN_SCALE = 2.0
"""Makes a token's features about as large as its state."""


def text_features(text: str) -> Tensor:
    """float32 [TEXT_FEATURES] of length 1: which ideographs and pairs of them the text has; zeros without any."""
    features = torch.zeros(TEXT_FEATURES)
    for at, character in enumerate(text):
        if is_ideograph(character):
            _add(features, character, 1.0)
            if text[at + 1 : at + 2].isalnum():
                _add(features, text[at : at + 2], 1.0)
    return torch.nn.functional.normalize(features, dim=0)


def token_features(text: str, spans: tuple[tuple[int, int], ...]) -> Tensor:
    """float32 [tokens, TOKEN_FEATURES]: a token's ideographs, and the characters beside it."""
    features = torch.zeros(len(spans), TOKEN_FEATURES)
    for row, (start, end) in enumerate(spans):
        own = [character for character in text[start:end] if is_ideograph(character)]
        if not own:
            continue
        for character in own:
            _add(features[row], character, _TOKEN_SCALE)
        _add(features[row], f"before {text[max(0, start - 1) : start]}", _TOKEN_SCALE)
        _add(features[row], f"after {text[end : end + 1]}", _TOKEN_SCALE)
    return features


def is_ideograph(character: str) -> bool:
    """Whether it is of a script that is written without spaces: Chinese, Japanese, and Korean beside them."""
    return ord(character) >= _FIRST and character.isalnum()


def _add(features: Tensor, key: str, amount: float) -> None:
    """Not `hash`, which differs from process to process."""
    number = crc32(key.encode("utf-8", "replace"))
    features[number % len(features)] += amount if number & 1 << 31 else -amount
