"""Whether a local copy of a changelog partition may be gone on with. Pure.

A copy that may is brought up to date by reading the changelog's tail, from
the position it reflects; any other is wiped, and the partition restored from
the beginning.
"""

from dataclasses import dataclass

_MARKER = 1
"""Each transaction ends with one control record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCopy:
    """What the store knows of its copy of one partition."""

    origin: str
    """Of which cluster and topic id."""
    position: int
    """The changelog offset that it reflects: a ledger's, the last record of its transaction."""
    current_ms: int
    """The last wall time at which it was all that the changelog says: deletions before that are in it."""


def tail_start(
    copy: LocalCopy | None, *, origin: str, log_start: int, log_end: int, now_ms: int, keeps_deletions_ms: int
) -> int | None:
    """The offset from which the tail is read, the copy's own position included; None where it must be wiped.

    `keeps_deletions_ms` is the topic's `delete.retention.ms`: of an older copy's tail tombstones may be gone, and what
    was erased would come back. A copy that nothing was written after is never too old.
    """
    if copy is None or copy.origin != origin or not log_start <= copy.position < log_end:
        return None
    is_current = copy.position + 1 + _MARKER >= log_end
    if not is_current and now_ms - copy.current_ms >= keeps_deletions_ms:
        return None
    return copy.position
