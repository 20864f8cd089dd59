"""What does everything around the engine cost: from a message in Kafka to its committed reply, against the bare engine?

A worker as `stream-worker run` starts it, with SmolLM2-135M-Instruct in its process, and a closed loop of C people who
each write when their last reply is committed. Then the bare engine with the same prompts and as many new tokens, at the
same concurrency, while the worker idles; by turns.
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

import orjson
from confluent_kafka import Consumer, Producer
from engine import Running
from harness import broker, fresh_name, parser, report
from peers import peers

from stream_worker.cache import cache_folder
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from stream_worker.stages.prompt import build_prompt
from stream_worker.tokens import ChatMessage, Role

_QUESTIONS = (
    "What could I cook tonight with rice, tomatoes and two eggs, if I have only half an hour?",
    "Explain to a child why the sky is blue during the day and red when the sun goes down.",
    "My train is late again and I will miss my meeting. How do I tell my manager politely?",
    "Which three things should a visitor see on a rainy afternoon in Amsterdam, and why?",
    "Write a short and friendly answer to a customer whose parcel has not arrived yet.",
)
_TOPICS = ("events", "replies", "deltas", "analysis", "actions", "metrics", "dead_letters")
_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and its reply. Seconds from sending to reading the committed reply, and of those the engine's."""

    question: str
    new_tokens: int
    total_s: float
    engine_s: float


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--concurrency", type=int, default=16)
    options.add_argument("--messages", type=int, default=160)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    folder = resolve_model(BUILT_IN, None, cache_folder("models"), lambda text: print(text, file=sys.stderr)).folder
    with broker() as servers, TemporaryDirectory() as place, Running(peers()["ours"], folder) as bare:
        settings = _settings(servers, Path(place))
        create(connect(settings), topic_table(settings))
        with _worker(settings, Path(place)):
            people = People(settings)
            people.talk(given.concurrency, given.concurrency)  # warm
            pairs = []
            for _ in range(given.repeats):
                turns, seconds = people.talk(given.concurrency, given.messages)
                piped = sum(turn.new_tokens for turn in turns) / seconds
                alone = bare.run(_requests(folder, turns), given.concurrency).tokens_per_s
                pairs.append((piped, alone, turns))
                print(f"in the pipeline {piped:.0f} tok/s, bare {alone:.0f}", file=sys.stderr)
            people.close()
    added = sorted(turn.total_s - turn.engine_s for _, _, turns in pairs for turn in turns)
    report(
        "pipeline",
        {
            "concurrency": given.concurrency,
            "tokens_per_s": [round(piped, 1) for piped, _, _ in pairs],
            "bare_tokens_per_s": [round(alone, 1) for _, alone, _ in pairs],
            "added_p50_s": round(added[len(added) // 2], 3),
            "added_p99_s": round(added[int(len(added) * 0.99)], 3),
        },
        {"bare_engine": round(statistics.median(piped / alone for piped, alone, _ in pairs), 3)},
    )


class People:
    """Write messages and read replies, one consumer for replies and metrics."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        servers = settings.kafka.bootstrap_servers
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "partitioner": "murmur2_random"})
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": fresh_name("people"),
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
            }
        )
        self._consumer.subscribe([self._topics.replies, self._topics.metrics])
        self._numbers = count()

    def talk(self, people: int, messages: int) -> tuple[list[Turn], float]:
        """Every message is a conversation of its own. Returns when all are answered."""
        questions: dict[str, str] = {}
        sent: dict[str, float] = {}
        heard: dict[str, float] = {}
        metrics: dict[str, tuple[int, float]] = {}
        begun = time.monotonic()
        while len(heard) < messages or len(metrics) < messages:
            while len(sent) < messages and len(sent) - len(heard) < people:
                self._write(questions, sent)
            self._producer.poll(0)
            for record in self._consumer.consume(100, 0.01):
                if record.error() is not None:
                    continue
                value = orjson.loads(record.value() or b"null")
                name = value["conversation_id"]
                if name not in sent:
                    continue
                if record.topic() == self._topics.replies:
                    heard.setdefault(name, time.monotonic())
                else:
                    metrics[name] = (value["tokens"]["generated"], value["timings"]["generate"])
            if time.monotonic() - begun > _WAIT_S:
                raise RuntimeError(f"{len(heard)} of {messages} messages were answered in time")
        seconds = max(heard.values()) - begun
        turns = [Turn(questions[name], metrics[name][0], heard[name] - sent[name], metrics[name][1]) for name in sent]
        return turns, seconds

    def close(self) -> None:
        self._consumer.close()

    def _write(self, questions: dict[str, str], sent: dict[str, float]) -> None:
        number = next(self._numbers)
        name = f"c-{number}"
        questions[name] = f"{_QUESTIONS[number % len(_QUESTIONS)]} ({number})"
        event = {"conversation_id": name, "message_id": f"m-{number}", "sender": {"id": "u"}, "text": questions[name]}
        self._producer.produce(self._topics.events, orjson.dumps(event), name)
        sent[name] = time.monotonic()


def _requests(folder: Path, turns: list[Turn]) -> list[tuple[list[int], int]]:
    """The prompts that the worker made, and as many new tokens as it sampled."""
    tokenizer = load_tokenizer(folder)
    chat_format = tokenizer.chat_format()
    prompts = [
        build_prompt(chat_format, tokenizer, "", [ChatMessage(Role.USER, turn.question)], None, 1_000).prompt.ids
        for turn in turns
    ]
    return [(list(ids), turn.new_tokens) for ids, turn in zip(prompts, turns, strict=True)]


def _settings(servers: str, place: Path) -> Settings:
    name = fresh_name("pipeline")
    bot = place / "bot.yaml"
    bot.write_text("bot: bench\nsampling: {max_new_tokens: 96}\n")
    topics = {each: f"{name}-{each.replace('_', '-')}" for each in _TOPICS}
    return Settings.model_validate(
        {
            "application_id": name,
            "kafka": {"bootstrap_servers": servers, "start_at": "earliest"},
            "topics": {**topics, "partitions": 8, "replication_factor": 1, "min_insync_replicas": 1},
            "engine": {"kind": "torch", "max_batch": 64, "kv_cache_bytes": 512 << 20},
            "conversation": {"state_dir": str(place / "state")},
            "observability": {"host": "127.0.0.1", "port": _free_port()},
            "outputs": {"delta_interval_ms": 0},
            "bots": [{"file": str(bot)}],
        }
    )


@contextmanager
def _worker(settings: Settings, place: Path) -> Iterator[None]:
    file = place / "settings.yaml"
    file.write_text(json.dumps(settings.model_dump(mode="json", exclude_unset=True)))
    child = subprocess.Popen([sys.executable, "-m", "stream_worker", "run", "--config", str(file)])
    deadline = time.monotonic() + _WAIT_S
    try:
        while not _is_ready(settings.observability.port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the worker did not get ready")
            time.sleep(0.2)
        yield
    finally:
        child.terminate()
        child.wait(60)


def _is_ready(port: int) -> bool:
    try:
        return bool(urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200)
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
