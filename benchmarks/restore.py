"""How long does state take to come back, from the changelog and with a local copy, and how much memory does it want?

A million conversations of 1 kB are written to one application's changelog. A worker takes all its partitions without a
copy, then again with the copy it left, and looks into every fifth conversation. Then one of two workers dies, and the
other restores half of it all while it goes on serving its own partitions: the waits of their replies are compared with
those while nothing is restored. The bounds are our own: 10 s from the changelog, 1 s with a copy.

    python benchmarks/restore.py [--conversations 1000000] [--bytes 1000] [--repeats 3]
"""

import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from harness import application, parser, report, resident_bytes

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
_QUIET_S = 6.0
_BOUND_S = {"from_the_changelog": 10.0, "with_a_local_copy": 1.0}


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
    return _Restore(round(seconds, 2), sum(worker.journal.restored), round(1_000 * slowest, 1))


def _memory(cluster: Cluster, folder: Path, conversations: int) -> dict[str, int]:
    """Resident megabytes of this process while a worker that has it all looks into every fifth conversation."""
    before = resident_bytes()
    store = RocksStore(folder)
    worker = cluster.start("a", store=store).worker
    while not all(each.is_serving for each in worker._assignments.values()) or not worker._assignments:
        cluster.tick()
    megabytes = {"before": before, "serving": resident_bytes()}
    for number in range(0, conversations, 5):
        name = f"conversation-{number}"
        worker._assignments[partition_of(name.encode(), _PARTITIONS)].states.get(name)
        if number == conversations // 5:
            megabytes["a_fifth_of_those_looked_into"] = resident_bytes()
    megabytes["all_looked_into"] = resident_bytes()
    kept = len(worker._recent)
    cluster.stop("a")
    store.close()
    return {name: round(each / 1e6) for name, each in megabytes.items()} | {"decoded_states": kept}


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
        # It is not polled any more, but has its partitions until its clients are gone.
        gone = cluster.workers.pop("a")
        before = time.monotonic()
        quiet = _waits(cluster, probes, lambda: time.monotonic() < before + _QUIET_S)
        # What it had a copy of from before the split is thrown away: the share is restored in full.
        for number in range(_PARTITIONS):
            if number not in own:
                survivor.worker._store.begin(number, "")
        taken = len(survivor.journal.restored)
        gone.edge.close()
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
    options = parser(__doc__ or "")
    options.add_argument("--conversations", type=int, default=1_000_000)
    options.add_argument("--bytes", type=int, default=1_000)
    options.add_argument("--repeats", type=int, default=1, help="of the restores; the quickest is given, and all")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker") as broker:
        settings = application(broker.bootstrap_servers, "restore", _PARTITIONS)
        create(AdminClient(admin_settings(settings)), topic_table(settings))
        written = _fill(settings, given.conversations, given.bytes)
        restores: dict[str, list[_Restore]] = {name: [] for name in _BOUND_S}
        with Cluster(settings) as cluster:
            for number in range(given.repeats):
                local = Path(folder) / f"local-{number}"
                for each in restores.values():
                    each.append(_restored(cluster, "a", local))
            memory = _memory(cluster, local, given.conversations)
        beside = _beside_a_restore(settings, Path(folder))
    quickest = {name: min(each, key=lambda restore: restore.seconds) for name, each in restores.items()}
    results = {
        "conversations": given.conversations,
        "state_bytes": written,
        **{name: asdict(restore) for name, restore in quickest.items()},
        "all_seconds": {name: [restore.seconds for restore in each] for name, each in restores.items()},
        "resident_megabytes": memory,
        "served_meanwhile": beside,
    }
    ratios = {name: round(_BOUND_S[name] / restore.seconds, 2) for name, restore in quickest.items()}
    report("restore", results, ratios)


if __name__ == "__main__":
    main()
