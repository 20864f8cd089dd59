"""What the benchmarks share: a broker, topics, load, reading back, and the one line of JSON at the end."""

import argparse
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stream_worker.cache import cache_folder
from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.settings import Settings

PARTITIONS = 8
TEXT = "What's the weather in Beijing tomorrow afternoon, and should I take an umbrella to the office or not? " * 2


@contextmanager
def broker() -> Iterator[str]:
    """An embedded Kafka, or the one of KAFKA_BOOTSTRAP_SERVERS."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with (
        TemporaryDirectory(prefix="stream-worker-bench-") as folder,
        EmbeddedBroker(Path(folder), progress=lambda text: print(text, file=sys.stderr)) as started,
    ):
        yield started.bootstrap_servers


def create_topics(servers: str, topics: Mapping[str, Mapping[str, str]]) -> None:
    """Topics of `PARTITIONS` partitions, stamped by the broker."""
    admin = AdminClient({"bootstrap.servers": servers})
    futures = admin.create_topics(
        [
            NewTopic(name, PARTITIONS, 1, config={"message.timestamp.type": "LogAppendTime", **config})
            for name, config in topics.items()
        ]
    )
    for future in futures.values():
        future.result()
    time.sleep(1.0)


def application(servers: str, name: str, partitions: int, **kafka: str) -> Settings:
    """Settings with topics of its own, and no outputs but replies, metrics and what state needs."""
    return Settings.model_validate(
        {
            "application_id": name,
            "kafka": {"bootstrap_servers": servers, "start_at": "earliest", **kafka},
            "topics": {
                "events": f"{name}.events",
                "partitions": partitions,
                "replication_factor": 1,
                "min_insync_replicas": 1,
            },
            "outputs": {"prefix": f"{name}.", "deltas": "off", "analysis": False},
        }
    )


def fresh_name(name: str) -> str:
    return f"{name}-{uuid4().hex[:6]}"


def load(servers: str, topic: str, count: int, conversations: int, texts: Sequence[str] | None = None) -> None:
    """`count` chat events of about 300 bytes, keyed by conversation as Java would place them."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 20,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1 << 21,
        }
    )
    order = random.Random(1)
    for number in range(count):
        conversation = f"c-{order.randrange(conversations)}"
        event = {
            "conversation_id": conversation,
            "message_id": f"m-{number}",
            "sender": {"id": f"u-{conversation}"},
            "text": texts[number] if texts is not None else TEXT[:180],
        }
        producer.produce(topic, orjson.dumps(event), conversation)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the load was not written")


@dataclass(frozen=True, slots=True)
class Output:
    """Committed records of a topic: how many, and when the broker appended the first and last, in seconds."""

    count: int
    first: float
    last: float
    keys: tuple[bytes, ...]


def read_back(servers: str, topic: str, *, keep_keys: bool = False) -> Output:
    """Everything committed in `topic`, up to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "read-back",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    places = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)]
    consumer.assign(places)
    at_end: set[int] = set()
    count, stamps, keys = 0, [], []
    while len(at_end) < PARTITIONS:
        for message in consumer.consume(20_000, 1.0):
            error = message.error()
            if error is None:
                count += 1
                stamps.append(message.timestamp()[1] / 1000)
                if keep_keys:
                    keys.append(message.key() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition() or 0)
    consumer.close()
    return Output(count, min(stamps, default=0.0), max(stamps, default=0.0), tuple(keys))


def run_contender(command: Sequence[str], *, cut_off_s: float, done: int, start_s: float = 60.0) -> tuple[float, str]:
    """Runs a contender, which prints `first SECONDS` at its first message and `done` when it has seen `done` of them.

    Returns the wall time of its first message, and everything it printed.
    """
    child = subprocess.Popen([*command, "--count", str(done)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    first, lines = 0.0, []
    os.set_blocking(child.stdout.fileno(), False)
    deadline = time.time() + start_s
    while child.poll() is None and time.time() < deadline:
        for line in child.stdout.readlines():
            lines.append(line)
            if line.startswith("first "):
                first = float(line.split()[1])
                deadline = first + cut_off_s
            elif line.startswith("done"):
                deadline = 0.0
        time.sleep(0.02)
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    os.set_blocking(child.stdout.fileno(), True)
    lines += child.stdout.readlines()
    if not first:
        raise RuntimeError(f"{command} handled no message:\n{''.join(lines)}")
    return first, "".join(lines)


def peer_python(name: str, *packages: str) -> str:
    """The interpreter of a virtual environment that holds a peer, whose pins may contradict ours."""
    folder = cache_folder("benchmarks") / name
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "installed").touch()
    return str(python)


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _read(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is in RAM. Linux only."""
    line = next(line for line in _read(Path(f"/proc/{pid}/status")) if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def _read(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def report(name: str, results: Mapping[str, object], ratios: Mapping[str, object]) -> None:
    """The last line: one JSON object."""
    print(
        orjson.dumps(
            {
                "name": name,
                "date": datetime.now(UTC).date().isoformat(),
                "machine": machine(),
                "results": results,
                "ratios": ratios,
            }
        ).decode(),
        flush=True,
    )


def parser(question: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=question)
