"""Previews: the pieces of one attempt add up, carry their place, and end."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.contracts.delta import DeltaState
from stream_worker.stages.preview import Piece, Preview

_TOKENS = st.lists(st.tuples(st.text(min_size=1, max_size=6), st.floats(0, 0.3)), max_size=20)


def _run(tokens: list[tuple[str, float]], preview: Preview) -> list[Piece]:
    now, pieces = 0.0, []
    for text, seconds in tokens:
        now += seconds
        preview.add(text)
        if (piece := preview.due(now)) is not None:
            pieces.append(piece)
    return pieces


@given(_TOKENS)
def test_pieces_add_up_to_the_reply(tokens: list[tuple[str, float]]) -> None:
    preview = Preview(0.08, None)
    reply = "".join(text for text, _ in tokens)
    pieces = _run(tokens, preview)
    last = preview.done(reply)
    assert last is not None
    pieces.append(last)
    assert "".join(piece.text for piece in pieces) == reply
    assert [piece.seq for piece in pieces] == list(range(len(pieces)))
    at = 0
    for piece in pieces:
        assert piece.at == at
        at += len(piece.text)
    assert [piece.state for piece in pieces[:-1]] == [DeltaState.OPEN] * (len(pieces) - 1)
    assert pieces[-1].state is DeltaState.DONE


@given(_TOKENS)
def test_a_reply_that_is_not_what_was_shown_voids_the_preview(tokens: list[tuple[str, float]]) -> None:
    preview = Preview(0.0, None)
    shown = _run(tokens, preview)
    # It begins with another character than what was shown.
    said = "".join(piece.text for piece in shown)
    last = preview.done("b" if said.startswith("a") else "a")
    if shown:
        assert last is not None
        assert last.state is DeltaState.VOID
    else:
        assert last is None or last.state is DeltaState.DONE


@given(_TOKENS)
def test_nothing_leaves_more_often_than_the_interval(tokens: list[tuple[str, float]]) -> None:
    preview, now, last = Preview(0.2, None), 0.0, None
    for text, seconds in tokens:
        now += seconds
        preview.add(text)
        if preview.due(now) is not None:
            assert last is None or now >= last + 0.2
            last = now


@given(_TOKENS)
def test_checked_previews_show_whole_sentences_that_pass(tokens: list[tuple[str, float]]) -> None:
    preview = Preview(0.0, lambda text: "x" not in text)
    shown = "".join(piece.text for piece in _run(tokens, preview))
    assert "x" not in shown
    assert not shown or shown[-1] in ".!?。！？…\n"


def test_a_void_comes_only_after_something_was_shown() -> None:
    silent = Preview(0.0, None)
    assert silent.void() is None
    shown = Preview(0.0, None)
    shown.add("hello")
    assert shown.due(0.0) is not None
    last = shown.void()
    assert last is not None
    assert last.state is DeltaState.VOID
    assert shown.due(1.0) is None
