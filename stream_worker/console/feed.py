"""What fills the board: a thread that reads the topics, and one that asks for the group.

The board belongs to the event loop. Each thread hands over what it found and
waits until it was taken, so nothing gathers between them.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from stream_worker.console.board import LIST, Board, of_conversation
from stream_worker.console.group import Group, picture
from stream_worker.console.hub import Hub
from stream_worker.console.vitals import Vitals, ask
from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.group_admin import GroupStatus, describe_group
from stream_worker.kafka.topic_admin import connect
from stream_worker.kafka.window import Marks, Seen, Window, marks
from stream_worker.settings import Settings

_log = structlog.get_logger()
_WAIT_S = 0.2
_GROUP_EVERY_S = 2.0
_AGAIN_S = 2.0
_NOTICE_EVERY_S = 0.2
_STOP_LOOK_S = 1.0

#: What changes with the group's picture.
GROUP = "group"


@dataclass(slots=True)
class View:
    """All that a page shows. Owned by the event loop."""

    board: Board
    hub: Hub
    group: Group | None = None
    trouble: str | None = None
    """Why nothing new comes, as a sentence."""
    group_trouble: str | None = None
    is_caught_up: bool = False
    _noticed: float = field(default=0.0)

    def take(self, found: Sequence[Seen]) -> None:
        self.trouble = None
        for seen in found:
            delta = self.board.take(seen.role, seen.record)
            if delta is not None and self.is_caught_up:
                key = (seen.record.key or b"").decode("utf-8", "replace")
                self.hub.publish((of_conversation(key),), delta)
        self.is_caught_up = self.is_caught_up or not found
        self.notice()

    def take_group(self, status: GroupStatus, found: dict[int, Marks], vitals: Sequence[Vitals] = ()) -> None:
        self.group_trouble = None
        self.group = picture(status, found, self.board, now_ms(), vitals)
        self.hub.publish((GROUP, LIST))

    def notice(self) -> None:
        """Says what changed, at most five times a second."""
        now = time.monotonic()
        if now - self._noticed >= _NOTICE_EVERY_S and (names := self.board.changed()):
            self._noticed = now
            self.hub.publish(names)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Feed:
    """Two threads between `start` and `stop`."""

    def __init__(
        self,
        settings: Settings,
        view: View,
        loop: asyncio.AbstractEventLoop,
        *,
        span_s: float,
        most_records: int,
        workers: Sequence[str] = (),
        prometheus: str | None = None,
    ) -> None:
        self._settings = settings
        self._view = view
        self._loop = loop
        self._span_s = span_s
        self._most_records = most_records
        self._workers = workers
        self._prometheus = prometheus
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(job,), name=f"console-{job.__name__.strip('_')}", daemon=True)
            for job in (self._read, self._ask)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Without waiting: it is called by the loop that the threads wait for."""
        self._stopping.set()

    def _run(self, job: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                job()
            except StreamWorkerError as error:
                # A broker that is away comes back; the page says so meanwhile.
                _log.warning("console cannot read", error=str(error))
                self._tell(str(error), job)
                self._stopping.wait(_AGAIN_S)
            except Exception as error:  # noqa: BLE001  # a thread's top
                # The loop is at its end, or this is a mistake of ours: a page that stands still must say so.
                if self._stopping.is_set() or self._loop.is_closed():
                    return
                _log.exception("console thread failed")
                self._tell(f"The console failed ({type(error).__name__}); its log says where.", job)
                self._stopping.wait(_AGAIN_S)

    def _read(self) -> None:
        window = Window(self._settings)
        try:
            window.open(now_ms() - int(self._span_s * 1_000), self._most_records)
            while not self._stopping.is_set():
                found = window.read(_WAIT_S)
                self._hand_over(lambda found=found: self._view.take(found))  # type: ignore[misc]
        finally:
            window.close()

    def _ask(self) -> None:
        admin = connect(self._settings)
        while not self._stopping.is_set():
            status = describe_group(admin, self._settings)
            numbers = [each.partition for each in status.partitions]
            found = dict(marks(admin, self._settings.topics.events, numbers))
            alive = ask(self._workers, self._prometheus)
            self._hand_over(lambda s=status, f=found, a=alive: self._view.take_group(s, f, a))  # type: ignore[misc]
            self._stopping.wait(_GROUP_EVERY_S)

    def _tell(self, trouble: str, job: Callable[[], None]) -> None:
        def tell() -> None:
            if job == self._ask:
                self._view.group_trouble = trouble
            else:
                self._view.trouble = trouble
            self._view.hub.publish((GROUP, LIST))

        self._hand_over(tell)

    def _hand_over(self, change: Callable[[], None]) -> None:
        """Runs it on the loop and waits for its end."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                change()
            except Exception as error:  # noqa: BLE001  # raised in the thread that waits
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                done.result(_STOP_LOOK_S)
                return
