"""Ideographs that a tokenizer does not know are still told apart, and other texts are left as they are."""

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.ideographs import text_features, token_features


@given(st.text(st.characters(max_codepoint=0x2E7F)))
def test_texts_without_ideographs_have_no_features(text: str) -> None:
    spans = tuple((at, at + 1) for at in range(len(text)))
    assert not text_features(text).any()
    assert not token_features(text, spans).any()


def test_characters_are_told_apart_and_so_are_their_neighbours() -> None:
    assert text_features("开灯") @ text_features("关灯") < 0.9
    own, other = token_features("开灯", ((0, 1), (1, 2))), token_features("关灯", ((0, 1), (1, 2)))
    assert not torch.equal(own[0], other[0])
    assert not torch.equal(own[1], other[1])
    assert not torch.equal(own[0], token_features("开门", ((0, 1),))[0])


def test_features_are_the_same_in_every_process() -> None:
    code = "from stream_worker.inference.ideographs import text_features; print(text_features('今天天气').tolist())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(text_features("今天天气").tolist())
