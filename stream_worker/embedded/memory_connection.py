"""Whether one generation of in-memory clients reaches its broker: the place where faults come in."""

from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.errors import ClientsBroken, Code


class MemoryConnection:
    """All clients of one generation share it, and break together."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._is_broken = False

    def is_up(self) -> bool:
        """False while the broker is away. Raises ClientsBroken when these clients are beyond repair."""
        if self._is_broken:
            raise ClientsBroken(Code.CLIENTS_BROKEN, "the in-memory clients were broken by the test")
        if self._broker.down:
            return False
        self._broker.expire()
        return True

    def break_clients(self) -> None:
        self._is_broken = True
