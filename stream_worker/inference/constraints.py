"""Holds a reply to a JSON Schema, token by token, with llguidance. Device thread only.

llguidance walks the schema's grammar over the tokenizer's bytes: at each step
it says which ids may follow. A schema it cannot read fails the request that
asked for it, and nothing else.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

#: As models write JSON: without a choice of whitespace, a small model may write spaces for ever.
_FORM: "JsonCompileOptions" = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_SILENT = 0
_SCHEMAS_KEPT = 64


class Unsatisfiable(ValueError):
    """No reply can keep to this schema, or the schema says something that is not supported."""


class Constraint:
    """How far one reply has come in its schema."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def is_complete(self) -> bool:
        """Whether the text so far is all that the schema asks for."""
        return self._matcher.is_accepting() or (self._matcher.is_stopped() and not self._matcher.is_error())

    def allowed(self) -> NDArray[np.bool_]:
        """bool [vocabulary]: which ids may follow. Raises Unsatisfiable when none may."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.zeros(self._vocabulary, dtype=np.bool_)
        known = np.unpackbits(bits, bitorder="little")[: self._vocabulary]
        allowed[: len(known)] = known
        if self._matcher.is_error() or not allowed.any():
            raise Unsatisfiable("no token of the model's vocabulary may follow")
        return allowed

    def take(self, token: int) -> None:
        """The id that was chosen. Raises Unsatisfiable for one that was not allowed."""
        if not self._matcher.consume_token(token):
            # The matcher's own words quote the reply.
            raise Unsatisfiable("the token that was chosen may not follow")


class JsonSchemas:
    """Makes constraints for the replies of one model. `vocabulary` is the width of its logits."""

    def __init__(self, tokenizer_file: Path, vocabulary: int, end_ids: frozenset[int]) -> None:
        self._tokenizer_file = tokenizer_file
        self._vocabulary = vocabulary
        self._end_ids = sorted(end_ids)
        self._tokenizer: LLTokenizer | None = None
        self._compiled = lru_cache(_SCHEMAS_KEPT)(self._compile)

    def constraint(self, schema: str) -> Constraint:
        """A constraint at its beginning; `schema` is JSON. Raises Unsatisfiable."""
        return Constraint(self._compiled(schema).deep_copy(), self._vocabulary)

    def _compile(self, schema: str) -> LLMatcher:
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_FORM)
            # Read on first use: the worker of a bot that asks for no JSON need not wait for it.
            if self._tokenizer is None:
                file, width = str(self._tokenizer_file), self._vocabulary
                self._tokenizer = LLTokenizer(file, n_vocab=width, eos_token=self._end_ids)
        except ValueError as error:
            raise Unsatisfiable(str(error)) from error
        matcher = LLMatcher(self._tokenizer, grammar, log_level=_SILENT)
        if matcher.is_error():
            raise Unsatisfiable(matcher.get_error())
        return matcher
