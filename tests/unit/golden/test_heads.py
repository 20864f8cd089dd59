"""Heads are trained when there are none yet for these examples, this encoder and this version, and only then."""

from pathlib import Path

import pytest

from stream_worker.golden.heads import ensure_heads
from stream_worker.inference.heads_format import HEADS_FORMAT


def test_heads_are_trained_once_for_their_examples_encoder_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, heads = tmp_path / "nlu.yml", tmp_path / "heads"
    trained: list[str] = []

    def train(arguments: list[str]) -> None:
        heads.mkdir()
        trained.append(arguments[-1])

    def ensure(encoder: str) -> int:
        for _ in range(2):
            ensure_heads(heads, examples, encoder, lambda _: None, train)
        return len(trained)

    examples.write_text("one", encoding="utf-8")
    assert ensure("a") == 1
    examples.write_text("two", encoding="utf-8")
    assert ensure("a") == 2
    assert ensure("b") == 3
    # As after an upgrade: what an earlier version left in a cache cannot be read.
    monkeypatch.setattr("stream_worker.golden.heads.HEADS_FORMAT", HEADS_FORMAT + 1)
    assert ensure("b") == 4
