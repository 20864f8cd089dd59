"""A reply that is asked for in JSON is JSON that its schema describes, or the request fails alone."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelSplit

from stream_worker.inference.constraints import JsonSchemas, Unsatisfiable
from stream_worker.inference.generation import Generation, Limits, accept
from stream_worker.orders import Failed, Generate, Generated, Result, Token
from stream_worker.outcome import DeadLetterReason
from stream_worker.tokens import Sampling
from tests.unit.inference.tiny import generate

END = 0
WIDTH = 300
"""Wider than the vocabulary, as with most models."""

SCHEMAS = [
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"enum": ["yes", "no", None]}, "minItems": 1, "maxItems": 3},
    {"anyOf": [{"type": "boolean"}, {"const": {"a": [1, 2.5]}}]},
]


def make_tokenizer(file: Path, without: str = "") -> Path:
    """A tokenizer with a token for each byte, but for the letters of `without`, and an end token."""
    alphabet = sorted(set(ByteLevelSplit.alphabet()) - set(without))
    vocabulary = {"<end>": END} | {letter: 1 + number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevelSplit(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(file))
    return file


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="module")
def schemas(tokenizer_file: Path) -> JsonSchemas:
    return JsonSchemas(tokenizer_file, WIDTH, frozenset({END}))


@cache
def _tokenizer(file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(file))


def run(schemas: JsonSchemas, file: Path, sampling: Sampling, seed: int) -> list[Result]:
    """A request whose logits are noise: nothing but the constraint makes it JSON."""
    limits = Limits(vocabulary=WIDTH, max_context_tokens=400, capacity_tokens=400)
    order: Generate = generate("json", (5, 6), sampling, seed)
    generation = accept(order, limits, lambda ids: _tokenizer(file).decode(list(ids)), 0.0, schemas)
    if isinstance(generation, Failed):
        return [generation]
    assert isinstance(generation, Generation)
    noise = np.random.default_rng(seed)
    results: list[Result] = []
    while not results or isinstance(results[-1], Token):
        row = noise.normal(size=WIDTH).astype(np.float32)
        results += generation.take(generation.sampler.choose(row), frozenset({END}), 0.0)
    return results


@settings(deadline=None)
@given(st.sampled_from(SCHEMAS), st.integers(0, 2**20), st.sampled_from([0.0, 1.0]))
def test_a_reply_is_json_of_its_schema(
    schemas: JsonSchemas, tokenizer_file: Path, schema: dict[str, object], seed: int, temperature: float
) -> None:
    sampling = Sampling(max_new_tokens=300, temperature=temperature, json_schema=json.dumps(schema))
    *tokens, last = run(schemas, tokenizer_file, sampling, seed)
    assert isinstance(last, Generated), last
    assert last.text == "".join(token.text for token in tokens if isinstance(token, Token))
    jsonschema.validate(json.loads(last.text), schema)


@pytest.mark.parametrize(
    "schema",
    ['{"type": "strange"}', '{"type": "integer", "minimum": 5, "maximum": 3}', "[1]", "not JSON", "false"],
)
def test_a_schema_that_no_reply_can_keep_to_fails_its_request_alone(
    schemas: JsonSchemas, tokenizer_file: Path, schema: str
) -> None:
    (failed,) = run(schemas, tokenizer_file, Sampling(json_schema=schema), 1)
    assert isinstance(failed, Failed)
    assert failed.reason is DeadLetterReason.SCHEMA_NOT_MET
    assert isinstance(run(schemas, tokenizer_file, Sampling(max_new_tokens=3), 1)[-1], Generated)


def test_a_reply_cut_amid_its_json_fails(schemas: JsonSchemas, tokenizer_file: Path) -> None:
    sampling = Sampling(max_new_tokens=5, json_schema=json.dumps(SCHEMAS[0]))
    failed = run(schemas, tokenizer_file, sampling, 1)[-1]
    assert isinstance(failed, Failed)
    assert failed.reason is DeadLetterReason.SCHEMA_NOT_MET
    assert "5 tokens" in failed.message


def test_a_vocabulary_that_cannot_write_the_text_fails_the_request_amid_it(tmp_path: Path) -> None:
    file = make_tokenizer(tmp_path / "tokenizer.json", without="z")
    schema = '{"const": "az"}'
    *_, failed = run(JsonSchemas(file, WIDTH, frozenset({END})), file, Sampling(json_schema=schema), 1)
    assert isinstance(failed, Failed)
    assert failed.reason is DeadLetterReason.SCHEMA_NOT_MET


def test_a_tokenizer_that_does_not_fit_the_model_fails_the_request(tokenizer_file: Path) -> None:
    with pytest.raises(Unsatisfiable, match="vocab"):
        JsonSchemas(tokenizer_file, 12, frozenset({END})).constraint("{}")


def test_without_a_tokenizers_file_a_schema_fails_its_request(tokenizer_file: Path) -> None:
    limits = Limits(vocabulary=WIDTH, max_context_tokens=400, capacity_tokens=400)
    order = generate("json", (5, 6), Sampling(json_schema="{}"))
    assert isinstance(accept(order, limits, str, 0.0), Failed)


def test_a_bias_of_an_id_that_the_model_has_not_fails_its_request() -> None:
    limits = Limits(vocabulary=WIDTH, max_context_tokens=400, capacity_tokens=400)
    order = generate("bias", (5, 6), Sampling(logit_bias=((WIDTH, 1.0),)))
    assert isinstance(accept(order, limits, str, 0.0), Failed)
