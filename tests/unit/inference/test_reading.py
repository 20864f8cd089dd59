"""Texts that were handed out add up, whatever the tokens and stop strings."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.reading import Reader


def as_bytes(ids: Sequence[int]) -> str:
    """One id a byte: the hardest tokenizer to read from."""
    return bytes(ids).decode("utf-8", "replace")


@given(st.text())
def test_every_piece_is_whole_characters_and_they_add_up(text: str) -> None:
    data = text.encode("utf-8", "replace")
    reader = Reader(as_bytes, ())
    pieces = [reader.add(byte) for byte in data]
    last = reader.end()
    assert "".join(pieces) + last == data.decode()
    assert all("�" not in piece for piece in pieces) or "�" in text


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_are_not_lost(data: bytes) -> None:
    reader = Reader(as_bytes, ())
    assert "".join([reader.add(byte) for byte in data] + [reader.end()]) == data.decode("utf-8", "replace")


@given(st.text("ab#", max_size=40), st.lists(st.text("ab#", min_size=1, max_size=4), max_size=3))
def test_a_reply_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    reader = Reader(as_bytes, stop)
    read = ""
    for byte in text.encode():
        read += reader.add(byte)
        if reader.stopped:
            break
    read += reader.end()
    ends = [at + len(one) for one in stop if (at := text.find(one)) >= 0]
    seen = text[: min(ends)] if ends else text
    starts = [at for one in stop if (at := seen.find(one)) >= 0]
    assert reader.stopped == bool(ends)
    assert read == (seen[: min(starts)] if starts else text)
