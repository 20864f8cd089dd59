"""How long state takes to come back: from the changelog, and with a local copy.

A million conversations of 1 kB are written to one application's changelog. A worker takes all its partitions without a
copy, then again with the copy it left. Then one of two workers dies, and the other restores half of it all while it
goes on serving its own partitions: the waits of their replies are compared with those while nothing is restored.

    python benchmarks/restore.py [--conversations 1000000] [--bytes 1000]
"""

import argparse
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from harness import application

from stream_worker.contracts.internal import state_key
from stream_worker.conversation.state import ConversationState, Line, Speaker
from stream_worker.conversation.store import RocksStore
from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kafka.cluster import Cluster
from tests.kafka.event_writer import conversation_in
from tests.unit.worker.rig import Journal

_PARTITIONS = 8
_PROBE_EVERY_S = 0.05


def _fill(settings: Settings, conversations: int, size: int) -> int:
    """Writes states of about `size` bytes each; returns their bytes."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
        }
    )
    chance = random.Random(1)
    written = 0
    for number in range(conversations):
        name = f"conversation-{number}"
        # Words that do not compress to nothing, as chats do not.
        words = " ".join(f"{chance.getrandbits(24):x}" for _ in range(size // 8 - 20))
        raw = ConversationState(history=(Line(Speaker.USER, words, f"m-{number}", 1_700_000_000_000),), turns=1).dump()
        written += len(raw)
        while True:
            try:
                producer.produce(settings.changelog, raw, state_key(name), partition_of(name.encode(), _PARTITIONS))
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1_000 == 0:
            producer.poll(0)
    producer.flush()
    return written


@dataclass(frozen=True, slots=True)
class _Restore:
    seconds: float
    records: int
    slowest_tick_ms: float


def _restored(cluster: Cluster, name: str, folder: Path) -> _Restore:
    """One worker takes everything: from its joining until the last partition is served."""
    store = RocksStore(folder)
    started = time.monotonic()
    worker = cluster.start(name, store=store)
    slowest, first_read = 0.0, started
    while len(worker.journal.restored) < _PARTITIONS:
        before = time.monotonic()
        cluster.tick()
        now = time.monotonic()
        slowest = max(slowest, now - before)
        if not worker.worker._assignments:
            # What joining a group takes is no restore.
            first_read = now
    seconds = time.monotonic() - first_read
    cluster.stop(name)
    store.close()
    return _Restore(seconds, sum(worker.journal.restored), 1_000 * slowest)


def _waits(cluster: Cluster, probes: list[str], goes_on: Callable[[], bool]) -> list[float]:
    """Milliseconds from each of many messages to its committed reply, one every 50 ms while `goes_on`."""
    sent_at: deque[float] = deque()
    waits: list[float] = []
    due = 0.0
    (worker,) = cluster.workers.values()
    settled = _settled(worker.journal)
    while goes_on() or sent_at:
        now = time.monotonic()
        if now >= due and goes_on():
            due = now + _PROBE_EVERY_S
            cluster.events.say(probes[len(cluster.events.sent) % len(probes)])
            sent_at.append(time.monotonic())
        cluster.tick()
        before, settled = settled, _settled(worker.journal)
        waits.extend(1_000 * (time.monotonic() - sent_at.popleft()) for _ in range(settled - before))
    return waits


def _settled(journal: Journal) -> int:
    return sum(count for _, count in journal.outcomes)


def _beside_a_restore(settings: Settings, folder: Path) -> dict[str, object]:
    """Two workers share the partitions; one dies, and the other restores its share and goes on serving its own."""
    with Cluster(settings) as cluster:
        survivor = cluster.start("b", store=RocksStore(folder / "b"))
        cluster.start("a", store=RocksStore(folder / "a"))
        own: list[int] = []
        while not (len(own) == _PARTITIONS // 2 and len(survivor.journal.restored) >= len(own)):
            cluster.tick()
            own = [number for number, each in survivor.worker._assignments.items() if each.is_serving]
            if len(cluster.workers["a"].worker._assignments) != _PARTITIONS // 2:
                own = []
        probes = [conversation_in(partition, _PARTITIONS, "probe") for partition in own]
        cluster.crash("a")
        before = time.monotonic()
        quiet = _waits(cluster, probes, lambda: time.monotonic() < before + 3.0)
        # What it had a copy of from before the split is thrown away: the share is restored in full.
        for number in range(_PARTITIONS):
            if number not in own:
                survivor.worker._store.begin(number, "")
        taken = len(survivor.journal.restored)
        restoring = _waits(cluster, probes, lambda: len(survivor.journal.restored) < taken + _PARTITIONS // 2)
        return {
            "records": sum(survivor.journal.restored[taken:]),
            "quiet_ms": _percentiles(quiet),
            "restoring_ms": _percentiles(restoring),
        }


def _percentiles(values: list[float]) -> dict[str, float]:
    ranked = sorted(values)
    return {
        name: round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    } | {"count": float(len(ranked))}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--conversations", type=int, default=1_000_000)
    options.add_argument("--bytes", type=int, default=1_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker") as broker:
        settings = application(broker.bootstrap_servers, "restore", _PARTITIONS)
        create(AdminClient(admin_settings(settings)), topic_table(settings))
        written = _fill(settings, given.conversations, given.bytes)
        local = Path(folder) / "local"
        with Cluster(settings) as cluster:
            full = _restored(cluster, "a", local)
            tail = _restored(cluster, "a", local)
        beside = _beside_a_restore(settings, Path(folder))
        result = {
            "conversations": given.conversations,
            "state_bytes": written,
            "from_the_changelog": asdict(full),
            "with_a_local_copy": asdict(tail),
            "served_meanwhile": beside,
        }
        print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
