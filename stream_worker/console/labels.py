"""Messages that were hardly understood, and wait for somebody to say what they mean. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from stream_worker.console.board import Board
from stream_worker.console.conversation import Conversation, Turn
from stream_worker.console.golden import Labelled
from stream_worker.contracts.analysis import Analysis

MOST = 100
_CLOSE = 0.15
"""Two intents whose scores lie no further apart could each have been meant."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """A turn whose intent is in doubt."""

    conversation: str
    turn_id: str
    text: str
    analysis: Analysis

    @property
    def name(self) -> str:
        """Of its field in the form."""
        return f"{self.turn_id} {self.conversation}"


def said_in(conversation: Conversation, turn: Turn) -> str:
    """What users wrote that the turn answers."""
    lines = [line for _, line in sorted(conversation.lines.items()) if line.turn_id == turn.turn_id]
    return "\n".join(line.text for line in lines if line.role == "user")


def in_doubt(analysis: Analysis) -> bool:
    """Out of scope, or the best two intents are close. A bot without intents has no doubts."""
    scores = [each.score for each in analysis.intents]
    return bool(scores) and (not analysis.in_scope or (len(scores) > 1 and scores[0] - scores[1] < _CLOSE))


def unsure(board: Board, done: Collection[str] = ()) -> list[Unsure]:
    """The latest of them, of the conversations with something new first; `done` are names to leave out."""
    return list(islice(_unsure(board, done), MOST))


def _unsure(board: Board, done: Collection[str]) -> Iterator[Unsure]:
    for conversation in reversed(board.conversations.values()):
        for turn in reversed(conversation.turns.values()):
            if turn.analysis is not None and in_doubt(turn.analysis):
                found = Unsure(conversation.key, turn.turn_id, said_in(conversation, turn), turn.analysis)
                if found.text and found.name not in done:
                    yield found


def labelled(board: Board, chosen: Mapping[str, str]) -> dict[str, Labelled]:
    """What somebody chose an intent for, by the names of the turns; what is no longer kept is left out."""
    found = {}
    for name, intent in chosen.items():
        turn_id, _, key = name.partition(" ")
        conversation = board.conversations.get(key)
        turn = conversation.turns.get(turn_id) if conversation is not None else None
        if conversation is None or turn is None or turn.analysis is None or not intent:
            continue
        if text := said_in(conversation, turn):
            found[name] = Labelled(text, intent, tuple(turn.analysis.slots))
    return found
