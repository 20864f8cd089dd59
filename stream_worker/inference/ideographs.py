"""Features of characters that an encoder may not know.

The vocabulary of an English encoder holds some hundred Chinese characters and reads the rest as one unknown token: 开
(on) and 关 (off) look alike to it. So each text and word also gets a few hashed features of its characters in scripts
without spaces. Texts without them get zeros, and are understood as before.
"""

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor

from stream_worker.inference.words import Word, is_unspaced

TEXT_FEATURES = 256
WORD_FEATURES = 256

_WORD_SCALE = 2.0
"""Makes a word's features about as large as its state."""


def text_features(text: str) -> Tensor:
    """float32 [TEXT_FEATURES] of length 1: which such characters and pairs of them the text has; zeros without any."""
    features = torch.zeros(TEXT_FEATURES)
    if text.isascii():
        return features
    for at, character in enumerate(text):
        if is_unspaced(character):
            _add(features, character, 1.0)
            if text[at + 1 : at + 2].isalnum():
                _add(features, text[at : at + 2], 1.0)
    return torch.nn.functional.normalize(features, dim=0)


def word_features(text: str, words: Sequence[Word]) -> Tensor:
    """float32 [words, WORD_FEATURES]: a word's such characters, and the characters beside it."""
    features = torch.zeros(len(words), WORD_FEATURES)
    if text.isascii():
        return features
    for row, word in enumerate(words):
        own = [character for character in text[word.start : word.end] if is_unspaced(character)]
        if not own:
            continue
        for character in own:
            _add(features[row], character, _WORD_SCALE)
        _add(features[row], f"before {text[max(0, word.start - 1) : word.start]}", _WORD_SCALE)
        _add(features[row], f"after {text[word.end : word.end + 1]}", _WORD_SCALE)
    return features


def _add(features: Tensor, key: str, amount: float) -> None:
    """Not `hash`, which differs from process to process."""
    number = crc32(key.encode("utf-8", "replace"))
    features[number % len(features)] += amount if number & 1 << 31 else -amount
