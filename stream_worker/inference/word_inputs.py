"""What the slots' head reads of each word: its state, its characters, its shape, and the lists it is in."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_worker.inference.ideographs import WORD_FEATURES, word_features
from stream_worker.inference.patterns import Patterns
from stream_worker.inference.text_encoder import Tokens
from stream_worker.inference.words import Word

_SHAPE_FEATURES = 4


def input_width(width: int, patterns: Patterns) -> int:
    """Of an encoder with states this wide."""
    return width + constant_width(patterns)


def constant_width(patterns: Patterns) -> int:
    return WORD_FEATURES + _SHAPE_FEATURES + 2 * len(patterns.names)


def constant_inputs(tokens: Tokens, patterns: Patterns) -> Tensor:
    """float32 [words, constant width]: all but the encoder's states, which training may change."""
    listed = torch.zeros(len(tokens.words), 2 * len(patterns.names))
    for match in patterns.find(tokens.text, tokens.words):
        column = 2 * patterns.names.index(match.name)
        listed[match.first, column] = 1.0
        listed[match.first + 1 : match.last, column + 1] = 1.0
    characters = word_features(tokens.text, tokens.words)
    return torch.cat([characters, _shapes(tokens.text, tokens.words), listed], dim=1)


def _shapes(text: str, words: Sequence[Word]) -> Tensor:
    """float32 [words, 4]: begins with a capital, all capitals, has a digit, is no letter or digit."""
    rows = [
        (value[0].isupper(), value.isupper() and len(value) > 1, any(map(str.isdigit, value)), not value[0].isalnum())
        for value in (text[word.start : word.end] for word in words)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(len(words), _SHAPE_FEATURES)
