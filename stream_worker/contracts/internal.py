"""Our own records in the changelog: keys and the ledger's form. Not for other programs.

A record of a newer format raises `Fatal` ("upgrade this worker"); it is never
called corrupt. A release reads a new format before any release writes it.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from stream_worker.errors import Code, Fatal, PartitionRefused

LEDGER_FORMAT = 1
STATE_PREFIX = b"c/"
LEDGER_PREFIX = b"l/"


def state_key(conversation: str) -> bytes:
    return STATE_PREFIX + conversation.encode()


def ledger_key(partition: int) -> bytes:
    return LEDGER_PREFIX + b"%d" % partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """States are on their way to another partition count; it stands in every ledger until all have arrived."""

    origin: int
    """The count that was."""
    target: int
    """The count that will be."""
    conversations: int | None = None
    """How many states there are, once they were counted."""
    fingerprint: str = ""
    """Of all of them, wherever they lie."""


MOVING_PARTITIONS = 0
"""A ledger's `partitions` during a move: no topic has so many, so a worker of any version refuses the partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecord:
    """One partition's ledger as it stands in the changelog.

    From `starts` on to `crashes` it is about the search for an event that crashes workers. Older releases count
    crashes by partition, in `starts` until `careful_to`; newer ones write that for them, and read what is by event.
    """

    format: int = LEDGER_FORMAT
    topic_id: str
    partition: int
    partitions: int
    term: int
    next: int
    open: tuple[int, ...]
    released: bool = False
    starts: int = 0
    careful_to: int | None = None
    suspect: int | None = None
    begins_below: int | None = None
    """No turn had begun with an event at or behind this offset; None in the oldest ledgers."""
    begun: tuple[int, ...] | None = None
    """Of those below `next`, the only ones that may have been in running turns; None in ledgers of older releases."""
    crashes: tuple[tuple[int, int], ...] = ()
    """Offsets, and how many processes ended while they may have been in running turns."""
    redriven_to: int = 0
    """Below this lie events that a person sent here again by moving the group's offset back."""
    redriven_in: int = 0
    """The term in which that was found; it names the redrive."""

    moving: Move | None = None
    """Nobody may take the partition before this is None again."""

    @property
    def group_offset(self) -> int:
        """Where the group stands with this ledger: everything below is settled."""
        return self.open[0] if self.open else self.next

    def dump(self) -> bytes:
        return orjson.dumps(self)


def load_ledger(raw: bytes, partition: int) -> LedgerRecord:
    """The ledger of `partition`. Raises `Fatal` for a newer format, `PartitionRefused` for anything unreadable."""
    try:
        fields = orjson.loads(raw)
        if fields["format"] > LEDGER_FORMAT:
            raise Fatal(
                Code.STATE_NEWER,
                f"partition {partition}: the ledger has format {fields['format']}, this worker reads up to "
                f"{LEDGER_FORMAT}: upgrade this worker",
            )
        ledger = LedgerRecord(
            topic_id=str(fields["topic_id"]),
            partition=int(fields["partition"]),
            partitions=int(fields["partitions"]),
            term=int(fields["term"]),
            next=int(fields["next"]),
            open=tuple(int(offset) for offset in fields["open"]),
            released=bool(fields["released"]),
            starts=int(fields["starts"]),
            careful_to=fields["careful_to"],
            suspect=fields["suspect"],
            begins_below=fields.get("begins_below"),
            begun=_load_begun(fields.get("begun")),
            crashes=tuple((int(offset), int(crashes)) for offset, crashes in fields.get("crashes", ())),
            redriven_to=int(fields.get("redriven_to", 0)),
            redriven_in=int(fields.get("redriven_in", 0)),
            moving=_load_move(fields.get("moving")),
        )
        if ledger.partition != partition or any(offset >= ledger.next for offset in ledger.open):
            raise ValueError("not the ledger of this partition, or one that no worker wrote")
        return ledger
    except (ValueError, KeyError, TypeError) as error:
        raise PartitionRefused(
            Code.LEDGER_UNREADABLE,
            f"partition {partition}: the changelog's ledger record cannot be decoded ({type(error).__name__}); to go "
            "on from the group's offset without it, run `stream-worker run --adopt-group` once",
            partition=partition,
        ) from error


def _load_begun(offsets: Any) -> tuple[int, ...] | None:
    return None if offsets is None else tuple(int(offset) for offset in offsets)


def _load_move(fields: Any) -> Move | None:
    if fields is None:
        return None
    conversations = fields["conversations"]
    return Move(
        origin=int(fields["origin"]),
        target=int(fields["target"]),
        conversations=None if conversations is None else int(conversations),
        fingerprint=str(fields["fingerprint"]),
    )
