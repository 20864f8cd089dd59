"""The current generation of Kafka clients, and how often it may be replaced.

A fatal client error costs the clients, never the engine and its cache: all
assignments are dropped, new clients join again. The third time in ten minutes
the process ends, so that whoever supervises it sees it.
"""

from collections import deque

from stream_worker.clock import Clock
from stream_worker.errors import Code, Fatal, StreamWorkerError
from stream_worker.kafka.protocols import Clients, Edge
from stream_worker.record import Outgoing

_WINDOW_S = 600.0
_MAX_REPLACEMENTS = 3


class Connection:
    def __init__(self, edge: Edge, clock: Clock) -> None:
        self._edge = edge
        self._clock = clock
        self._clients: Clients | None = None
        self._replaced: deque[float] = deque(maxlen=_MAX_REPLACEMENTS)

    @property
    def clients(self) -> Clients:
        if self._clients is None:
            raise RuntimeError("the connection is not open")
        return self._clients

    def open(self) -> None:
        """New clients; ends what a predecessor with our transactional id left open."""
        self._clients = self._edge.open()
        self._clients.transactions.start()

    def replace(self, error: StreamWorkerError) -> None:
        """Raises Fatal when it happens too often."""
        now = self._clock.monotonic()
        self._replaced.append(now)
        if len(self._replaced) == _MAX_REPLACEMENTS and now - self._replaced[0] < _WINDOW_S:
            raise Fatal(
                Code.CLIENTS_REPLACED_TOO_OFTEN,
                f"the Kafka clients failed {_MAX_REPLACEMENTS} times in ten minutes, last with: {error}",
            ) from error
        self.open()

    def send_delta(self, record: Outgoing) -> bool:
        return self.clients.deltas.send(record)

    def tend(self) -> None:
        self._edge.tend()

    def undelivered_deltas(self) -> int:
        return self.clients.deltas.undelivered()

    def close(self) -> None:
        self._edge.close()
