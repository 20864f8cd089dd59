"""Packed texts come out as the library's own model has them, one by one."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from stream_worker.inference.bert import bert_of, mean_of_texts, pack
from tests.unit.inference.tiny_encoder import write_tiny_encoder

_TEXTS = [[2, 5, 6, 7, 3], [2, 3], [2, 9, 8, 7, 6, 5, 4, 9, 3]]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_packed_texts_are_what_the_library_computes(tmp_path: Path, kind: str) -> None:
    write_tiny_encoder(tmp_path, kind=kind)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    bert, packed = bert_of(model, torch.float32), pack(_TEXTS)
    with torch.inference_mode():
        states = bert.run(bert.embed(packed), packed)
        expected = [model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in _TEXTS]
    for own, alone in zip(torch.split(states, [len(ids) for ids in _TEXTS]), expected, strict=True):
        assert torch.allclose(own, alone, atol=1e-5)
    means = torch.nn.functional.normalize(torch.stack([alone.mean(0) for alone in expected]), dim=1)
    assert torch.allclose(mean_of_texts(states, packed), means, atol=1e-5)


def test_half_the_bits_say_nearly_the_same(tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    packed = pack(_TEXTS)
    with torch.inference_mode():
        whole, half = (
            mean_of_texts(bert.run(bert.embed(packed), packed), packed)
            for bert in (bert_of(model, torch.float32), bert_of(model, torch.bfloat16).serving())
        )
    assert float((whole * half).sum(1).min()) > 0.999
