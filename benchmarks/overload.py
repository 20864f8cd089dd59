"""What becomes of a worker that gets a hundred times what it can answer?

Its engine answers 16 messages at a time, each in 0.4 s: 40 a second. First it finds a backlog whose events are all
older than their age (5 s): how many of them are settled a second, without the engine? Then a process of its own writes
4,000 messages a second of 100,000 conversations: is what is answered answered within its age, is the engine kept busy,
and does memory stay where it was after the first third?

`ratios`: settled a second over 5,000, answered a second over 40, and resident memory after the first third over that of
the last. A reply stands in its topic up to a commit later than its turn has ended: 0.2 s are allowed for it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from echo import CONTENDERS, worker_settings
from harness import PARTITIONS, broker, create_topics, fresh_name, load, parser, report, resident_bytes

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings

_ROOM, _TURN_S, _AGE_MS = 16, 0.4, 5_000
_RATE = _ROOM / _TURN_S
_TIMES = 100
_EXPIRED_A_SECOND = 5_000
_CONVERSATIONS = 100_000
_START_S = 60.0
_WRITER = """
import sys, time
from confluent_kafka import Producer
servers, topic, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "partitioner": "murmur2_random"})
started, sent = time.time(), 0
while (now := time.time()) < started + seconds:
    while sent < (now - started) * rate:
        conversation = f"c-{sent * 7919 % %CONVERSATIONS%}"
        producer.produce(topic, b'{"conversation_id":"%s","message_id":"l-%d","sender":{"id":"u"},"text":"%TURN%"}'
                         % (conversation.encode(), sent), conversation)
        sent += 1
    producer.poll(0.005)
producer.flush()
print(sent)
""".replace("%CONVERSATIONS%", str(_CONVERSATIONS)).replace("%TURN%", str(_TURN_S))


@dataclass(frozen=True, slots=True)
class _Settled:
    """One settled event: when the broker appended its metric, and how long after the event that was, in seconds."""

    outcome: str
    at: float
    age: float


def _worker_settings(servers: str, events: str, application: str) -> Settings:
    tree = worker_settings(servers, events, application).model_dump(mode="json", exclude_defaults=True)
    tree["admission"] = {"max_event_age_ms": _AGE_MS, "max_running_turns": _ROOM}
    tree["outputs"] = {"deltas": "off", "analysis": False}
    return Settings.model_validate(tree)


@contextmanager
def serving_worker(settings: Settings, folder: Path) -> Iterator[int]:
    """A worker as a process of its own that serves all partitions; yields its process id."""
    command = [sys.executable, str(CONTENDERS / "worker.py"), "--settings", settings.model_dump_json()]
    command += ["--kind", "scripted", "--folder", str(folder / "state"), "--count", str(1 << 40)]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_S
        while (folder / "log").read_bytes().count(b"serving ") < PARTITIONS:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker does not serve:\n{(folder / 'log').read_text()[-2_000:]}")
            time.sleep(0.02)
        yield child.pid
    finally:
        child.terminate()
        child.wait(20)


def _settled(settings: Settings, stamps: dict[tuple[int, int], float]) -> list[_Settled]:
    """Everything that was settled; `stamps` say when the events were appended."""
    return [
        _Settled(metric["outcome"], at, at - stamps[metric["partition"], metric["offset"]])
        for (_, _), (at, value) in read_all(settings, settings.output_topic(settings.topics.metrics)).items()
        if (metric := orjson.loads(value))
    ]


def read_all(settings: Settings, topic: str) -> dict[tuple[int, int], tuple[float, bytes]]:
    """All committed records by partition and offset: when they were appended, and their values."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "read-back",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    found: dict[tuple[int, int], tuple[float, bytes]] = {}
    unread = set(range(partitions))
    while unread:
        for message in consumer.consume(20_000, 1.0):
            error = message.error()
            if error is None:
                place = (message.partition() or 0, message.offset() or 0)
                found[place] = (message.timestamp()[1] / 1000, message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition() or 0)
    consumer.close()
    return found


def _event_stamps(settings: Settings) -> dict[tuple[int, int], float]:
    return {place: at for place, (at, _) in read_all(settings, settings.topics.events).items()}


def wait_until_settled(settings: Settings, events: int, deadline_s: float) -> None:
    """Until the group's lag is gone: an event that is not settled holds the offset."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if len(read_all(settings, settings.output_topic(settings.topics.metrics))) >= events:
            return
        time.sleep(1.0)
    raise RuntimeError("not everything was settled")


def _backlog(servers: str, folder: Path, events: int) -> dict[str, object]:
    """A worker starts where everything is too old."""
    settings = _prepared(servers, "overload-backlog")
    load(servers, settings.topics.events, events, _CONVERSATIONS, [str(_TURN_S)] * events)
    time.sleep(_AGE_MS / 1000 + 1)
    with serving_worker(settings, folder):
        wait_until_settled(settings, events, 120)
    settled = _settled(settings, _event_stamps(settings))
    # From when it serves its first partition until the last metric is appended.
    started = float((folder / "log").read_text().split("serving ", 1)[1].split()[0])
    return {
        "events": events,
        "settled_a_second": round(events / (max(each.at for each in settled) - started)),
        "outcomes": _count(settled),
    }


def _soak(servers: str, folder: Path, seconds: float) -> dict[str, object]:
    settings = _prepared(servers, "overload-soak")
    resident: list[int] = []
    with serving_worker(settings, folder) as pid:
        writing = [servers, settings.topics.events, str(_RATE * _TIMES), str(seconds)]
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, *writing], stdout=subprocess.PIPE, text=True)
        while writer.poll() is None:
            resident.append(resident_bytes(pid))
            time.sleep(1.0)
        sent = int(writer.communicate()[0])
        wait_until_settled(settings, sent, 120)
    settled = _settled(settings, _event_stamps(settings))
    answered = sorted(each.age for each in settled if each.outcome == "replied")
    third = len(resident) // 3
    return {
        "seconds": seconds,
        "written_a_second": round(sent / seconds),
        "outcomes": _count(settled),
        "answered_a_second": round(len(answered) / seconds, 1),
        "age_of_answers_s": {"p50": round(median(answered), 2), "max": round(answered[-1], 2)},
        "answered_later": sum(age > _AGE_MS / 1000 + 0.2 for age in answered),
        "resident_megabytes": {
            "after_the_first_third": round(resident[third] / 1e6),
            "median_of_the_second": round(median(resident[third : 2 * third]) / 1e6),
            "median_of_the_last": round(median(resident[2 * third :]) / 1e6),
            "most": round(max(resident) / 1e6),
        },
    }


def _prepared(servers: str, name: str) -> Settings:
    events, application = fresh_name(name), fresh_name(f"{name}-worker")
    create_topics(servers, {events: {}})
    settings = _worker_settings(servers, events, application)
    create(AdminClient(admin_settings(settings)), [spec for spec in topic_table(settings) if spec.name != events])
    return settings


def _count(settled: Sequence[_Settled]) -> dict[str, int]:
    return {name: sum(each.outcome == name for each in settled) for name in sorted({each.outcome for each in settled})}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--backlog", type=int, default=200_000, help="events that are too old when the worker starts")
    options.add_argument("--seconds", type=float, default=180.0, help="how long it is written")
    given = options.parse_args()
    with broker() as servers, TemporaryDirectory() as first, TemporaryDirectory() as second:
        backlog = _backlog(servers, Path(first), given.backlog)
        print(backlog, file=sys.stderr)
        soak = _soak(servers, Path(second), given.seconds)
    resident = soak["resident_megabytes"]
    assert isinstance(resident, dict)
    ratios = {
        "settled_a_second": round(_number(backlog["settled_a_second"]) / _EXPIRED_A_SECOND, 2),
        "answered_a_second": round(_number(soak["answered_a_second"]) / _RATE, 2),
        "memory": round(resident["after_the_first_third"] / resident["median_of_the_last"], 3),
    }
    report("overload", {"backlog": backlog, "soak": soak}, ratios)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


if __name__ == "__main__":
    main()
