"""Where conversations lie in a changelog, and where another partition count wants them. Pure.

A conversation's partition is murmur2 of its key, modulo the partition count. States move between two counts, `origin`
and `target`; while they do, each lies where one of the two wants it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from stream_worker.contracts.internal import LEDGER_PREFIX, STATE_PREFIX, LedgerRecord, Move, load_ledger
from stream_worker.errors import Code, Misconfigured, UnsafeChange
from stream_worker.kafka.murmur2 import partition_of

_DIGEST_BYTES = 16
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionShare:
    """The conversations of one partition."""

    partition: int
    """Its number."""

    before: int
    """How many lay in it."""

    after: int
    """How many lie in it afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartitioned:
    """What moving to another partition count did, or would do."""

    done: bool
    """False where it was only looked at."""

    partitions_before: int
    """How many partitions the input had."""

    partitions_after: int
    """How many it has afterwards."""

    conversations: int
    """How many have state."""

    moved: int
    """How many of them changed their partition in this run."""

    carried: int
    """Events that arrived meanwhile in what is no longer their conversation's partition, and were taken to it."""

    partitions: list[PartitionShare]
    """Each partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """From how many partitions to how many. `is_begun`: topics or ledgers show that somebody has begun it."""

    origin: int
    target: int
    is_begun: bool = False

    @property
    def is_done(self) -> bool:
        return self.origin == self.target


def plan(events: int, changelog: int, target: int, moves: Collection[Move]) -> Plan:
    """`events` and `changelog` are the topics' partition counts, `moves` stand in the ledgers.

    Raises Misconfigured for fewer partitions, UnsafeChange where a move to another count was begun.
    """
    if moves:
        begun, origin = next(iter(moves)).target, next(iter(moves)).origin
    elif events != changelog:
        begun, origin = max(events, changelog), min(events, changelog)
    elif target < events:
        raise Misconfigured(
            Code.TOPIC_MISMATCH,
            f"the input has {events} partitions, and Kafka takes none away: --to must be more; for fewer, begin anew "
            "with another application_id and topics",
        )
    else:
        return Plan(origin=events, target=target)
    if target != begun:
        raise UnsafeChange(
            Code.MOVE_UNFINISHED,
            f"a move from {origin} to {begun} partitions was begun and has not ended: "
            f"run `stream-worker topics repartition --to {begun}` first",
        )
    return Plan(origin=origin, target=target, is_begun=True)


@dataclass(slots=True)
class Survey:
    """All that a changelog holds, counted: what lives in it, and which ledgers."""

    target: int
    before: Counter[int] = field(default_factory=Counter)
    """Conversations by partition."""
    after: Counter[int] = field(default_factory=Counter)
    """The same, as the target wants them."""
    misplaced: dict[int, list[bytes]] = field(default_factory=dict)
    """Keys by partition, of those that the target wants elsewhere."""
    ledgers: dict[int, LedgerRecord] = field(default_factory=dict)
    _sum: int = 0

    def add(self, partition: int, live: Mapping[bytes, bytes]) -> None:
        """A partition's records that were not deleted. Raises UnsafeChange for one that no worker of ours wrote."""
        for key, value in live.items():
            if key.startswith(STATE_PREFIX):
                home = home_of(key, self.target)
                self.before[partition] += 1
                self.after[home] += 1
                self._sum += _digest(key, value)
                if home != partition:
                    self.misplaced.setdefault(partition, []).append(key)
            elif key.startswith(LEDGER_PREFIX):
                self.ledgers[partition] = load_ledger(value, partition)
            else:
                raise UnsafeChange(
                    Code.STATE_NEWER,
                    f"changelog partition {partition} has a record of a kind that is not known here: use the "
                    "newest version that has written to it",
                )

    @property
    def conversations(self) -> int:
        return self.before.total()

    @property
    def fingerprint(self) -> str:
        """The same for the same states, wherever they lie."""
        return f"{self._sum % (1 << 8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"

    @property
    def moves(self) -> set[Move]:
        return {ledger.moving for ledger in self.ledgers.values() if ledger.moving is not None}

    @property
    def to_move(self) -> int:
        return sum(map(len, self.misplaced.values()))

    def shares(self, partitions: Iterable[int]) -> list[PartitionShare]:
        return [
            PartitionShare(partition=number, before=self.before[number], after=self.after[number])
            for number in partitions
        ]


def refuse_strangers(survey: Survey, found: Plan) -> None:
    """Raises UnsafeChange for a conversation that lies where neither count wants it.

    Moved, it would meet what else is known of the conversation; left, it would never be found.
    """
    strangers = [
        (partition, key)
        for partition, keys in survey.misplaced.items()
        for key in keys
        if found.target == found.origin or home_of(key, found.origin) != partition
    ]
    if strangers:
        named = ", ".join(
            f"{key.removeprefix(STATE_PREFIX).decode(errors='replace')} in partition {partition}"
            for partition, key in strangers[:_NAMED]
        )
        raise UnsafeChange(
            Code.STATE_MISPLACED,
            f"{len(strangers)} conversations lie where murmur2 of their key does not put them (such as {named}): their "
            "producer has another partitioner (librdkafka's own default is one: set `partitioner=murmur2_random`), or "
            "wrote by an old partition count; nothing was changed",
        )


def verify(survey: Survey, move: Move) -> None:
    """Raises UnsafeChange where the states are not those that there were, or not all where they belong."""
    same_as_before(survey, move)
    if survey.misplaced:
        where = ", ".join(f"{len(keys)} in partition {number}" for number, keys in sorted(survey.misplaced.items()))
        raise UnsafeChange(
            Code.STATE_MISPLACED,
            f"not every state was moved: {where} belong elsewhere; run it again: no worker starts before it has ended",
        )


def same_as_before(survey: Survey, move: Move) -> None:
    """Raises UnsafeChange where states are missing, there twice, or not byte for byte what they were."""
    if survey.conversations != move.conversations:
        what = f"there were {move.conversations} conversations before the move, now there are {survey.conversations}"
    elif survey.fingerprint != move.fingerprint:
        what = f"there are {survey.conversations} conversations as before the move, but not with the same contents"
    else:
        return
    raise UnsafeChange(
        Code.STATE_MISPLACED,
        f"{what}: something else has written to the changelog; no worker starts before a person has looked: restore "
        "the topic, or begin anew with another application_id",
    )


@dataclass(slots=True)
class Batching:
    """Groups states so that a transaction stays small."""

    most_records: int
    most_bytes: int

    def __call__(self, states: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for key, value in states:
            if batch and (len(batch) >= self.most_records or size + len(value) > self.most_bytes):
                yield batch
                batch, size = [], 0
            batch.append((key, value))
            size += len(key) + len(value)
        if batch:
            yield batch


def home_of(key: bytes, partitions: int) -> int:
    """The partition of a state's key in a changelog of so many."""
    return partition_of(key.removeprefix(STATE_PREFIX), partitions)


def _digest(key: bytes, value: bytes) -> int:
    found = blake2b(len(key).to_bytes(4, "big"), digest_size=_DIGEST_BYTES)
    found.update(key)
    found.update(value)
    return int.from_bytes(found.digest(), "big")
