"""Characters that a tokenizer does not know are still told apart, and other texts are left as they are."""

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.ideographs import text_features, word_features
from stream_worker.inference.words import Word


def _characters(text: str) -> list[Word]:
    return [Word(at, at + 1, at, at + 1) for at in range(len(text))]


@given(st.text(st.characters(max_codepoint=0x0DFF)))
def test_texts_in_scripts_with_spaces_have_no_features(text: str) -> None:
    assert not text_features(text).any()
    assert not word_features(text, _characters(text)).any()


def test_characters_are_told_apart_and_so_are_their_neighbours() -> None:
    assert text_features("开灯") @ text_features("关灯") < 0.9
    own, other, door = (word_features(text, _characters(text)) for text in ("开灯", "关灯", "开门"))
    assert not torch.equal(own[0], other[0])
    assert not torch.equal(own[1], other[1])
    assert not torch.equal(own[0], door[0])


def test_features_are_the_same_in_every_process() -> None:
    code = "from stream_worker.inference.ideographs import text_features; print(text_features('今天天气').tolist())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(text_features("今天天气").tolist())
