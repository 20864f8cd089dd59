"""The previews of all running generations: text gathers here and leaves as deltas.

Runs on the worker thread. A delta is sent outside any transaction, at once;
what cannot be sent is dropped and counted, and the reply makes up for it.
"""

from collections.abc import Callable

from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.connection import Connection
from stream_worker.observer import Observer
from stream_worker.orders import TurnRef
from stream_worker.publication import Publication
from stream_worker.settings.outputs import OutputSettings
from stream_worker.stages.check import Passed, check
from stream_worker.stages.preview import Piece, Preview
from stream_worker.turn import Turn


class Previews:
    def __init__(
        self,
        settings: OutputSettings,
        publication: Publication,
        connection: Connection,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._publication = publication
        self._connection = connection
        self._observer = observer
        self._open: dict[TurnRef, tuple[Turn, Preview]] = {}

    def open(self, turn: Turn) -> None:
        """A generation begins."""
        if self._settings.deltas != "off":
            passes = _passes(turn.bot) if self._settings.deltas == "checked" else None
            self._open[turn.ref] = (turn, Preview(self._settings.delta_interval_ms / 1000, passes))

    def add(self, ref: TurnRef, text: str, moment: Moment) -> None:
        if (entry := self._open.get(ref)) is not None:
            turn, preview = entry
            preview.add(text)
            self._leave(turn, preview.due(moment.monotonic), moment)

    def tick(self, moment: Moment) -> None:
        """Sends what gathered for long enough, and counts what did not arrive."""
        if self._settings.deltas == "off":
            return
        for _ in range(self._connection.undelivered_deltas()):
            self._observer.delta_dropped()
        for turn, preview in self._open.values():
            self._leave(turn, preview.due(moment.monotonic), moment)

    def done(self, ref: TurnRef, reply: str, moment: Moment) -> None:
        """The reply is known and is about to be published."""
        if (entry := self._open.pop(ref, None)) is not None:
            turn, preview = entry
            self._leave(turn, preview.done(reply), moment)

    def void(self, ref: TurnRef, moment: Moment) -> None:
        """This attempt will have no reply. Does nothing where none was open, or nothing was shown."""
        if (entry := self._open.pop(ref, None)) is not None:
            turn, preview = entry
            self._leave(turn, preview.void(), moment)

    def _leave(self, turn: Turn, piece: Piece | None, moment: Moment) -> None:
        if piece is None:
            return
        delta = self._publication.delta(turn, piece, moment.wall_ms)
        if not self._publication.fits(delta) or not self._connection.send_delta(delta):
            self._observer.delta_dropped()
        elif piece.seq == 0:
            self._observer.first_delta(turn, max(0, moment.wall_ms - turn.first.record.timestamp_ms) / 1000)


def _passes(bot: Bot) -> Callable[[str], bool]:
    return lambda text: isinstance(check(bot, text), Passed)
