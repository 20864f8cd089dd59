"""The previews of all running generations: text gathers here and leaves as deltas.

Runs on the worker thread. A delta is sent outside any transaction, at once;
when the producer's queue is full it is dropped and counted, and the reply
makes up for it.
"""

from collections.abc import Callable

from stream_worker.bot.bot import Bot
from stream_worker.observer import Observer
from stream_worker.orders import TurnRef
from stream_worker.publication import Publication
from stream_worker.record import Outgoing
from stream_worker.settings.outputs import OutputSettings
from stream_worker.stages.check import Passed, check
from stream_worker.stages.preview import Piece, Preview
from stream_worker.turn import Turn


class Previews:
    def __init__(
        self,
        settings: OutputSettings,
        publication: Publication,
        send: Callable[[Outgoing], bool],
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._publication = publication
        self._send = send
        self._observer = observer
        self._open: dict[TurnRef, tuple[Turn, Preview]] = {}

    def open(self, turn: Turn) -> None:
        """A generation begins."""
        if self._settings.deltas != "off":
            passes = _passes(turn.bot) if self._settings.deltas == "checked" else None
            self._open[turn.ref] = (turn, Preview(self._settings.delta_interval_ms / 1000, passes))

    def add(self, ref: TurnRef, text: str, now: float, now_ms: int) -> None:
        if (entry := self._open.get(ref)) is not None:
            turn, preview = entry
            preview.add(text)
            self._leave(turn, preview.due(now), now_ms)

    def tick(self, now: float, now_ms: int) -> None:
        """Sends what gathered for long enough."""
        for turn, preview in self._open.values():
            self._leave(turn, preview.due(now), now_ms)

    def done(self, ref: TurnRef, reply: str, now_ms: int) -> None:
        """The reply is known and is about to be published."""
        if (entry := self._open.pop(ref, None)) is not None:
            turn, preview = entry
            self._leave(turn, preview.done(reply), now_ms)

    def void(self, ref: TurnRef, now_ms: int) -> None:
        """This attempt will have no reply. Does nothing where none was open, or nothing was shown."""
        if (entry := self._open.pop(ref, None)) is not None:
            turn, preview = entry
            self._leave(turn, preview.void(), now_ms)

    def _leave(self, turn: Turn, piece: Piece | None, now_ms: int) -> None:
        if piece is None:
            return
        if not self._send(self._publication.delta(turn, piece)):
            self._observer.delta_dropped()
        elif piece.seq == 0:
            self._observer.first_delta(turn, max(0, now_ms - turn.first.record.timestamp_ms) / 1000)


def _passes(bot: Bot) -> Callable[[str], bool]:
    return lambda text: isinstance(check(bot, text), Passed)
