"""What can be made to fail in a worker from outside."""

from enum import StrEnum

#: Words in a message that end the process of whoever generates its reply, each time it is tried.
CRASHING = "(this crashes)"
HANGING = "(this hangs)"


class Switch(StrEnum):
    ENGINE_AWAY = "engine_away"
    """Requests fail, and it is the engine's fault."""
    ENGINE_DIES = "engine_dies"
    """The device thread raises."""
    ENGINE_HANGS = "engine_hangs"
    """The device thread stands still."""
    DISK_FULL = "disk_full"
    """The local store cannot be written."""
    CLOCK_MS = "clock_ms"
    """Wall time is off by this much."""
    DIES_IN_COMMIT = "dies_in_commit"
    """The process ends between the records of a transaction and its commit."""
    DIES_IN_RESTORE = "dies_in_restore"
    """The process ends while it reads the changelog."""
