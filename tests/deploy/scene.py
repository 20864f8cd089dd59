"""Two workers under load, a Prometheus that scrapes them, and what it answers."""

import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from confluent_kafka import Producer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from stream_worker.cache import cache_folder
from stream_worker.inference.models import resolve_model
from stream_worker.settings import Settings
from tests.certificates import self_signed
from tests.eventually import eventually
from tests.scrape import free_port, value

ROOT = Path(__file__).parents[2]
#: Guards, not expectations: a machine that does something else meanwhile must not fail a test.
_START_S = 600.0
_END_S = 120.0
_BOT = """
bot: shop
languages: [en]
fallback:
  reply: model
  emit: [{command: shop.note}]
  call: [{name: shop, url: "http://127.0.0.1:{port}/livez", take: {open: "yes"}}]
error_reply: "Sorry."
sampling: {max_new_tokens: 12}
"""


def tiny_model(folder: Path) -> Path:
    """A model of random weights with the tokenizer of a real one: it says nothing, but quickly, and with a cache."""
    real = resolve_model("smollm2-135m-instruct", None, cache_folder("models"), lambda _: None)
    tokenizer = AutoTokenizer.from_pretrained(real.folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
    )
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Process:
    """A child that ends with the scene; its output goes to a file."""

    def __init__(self, command: list[str], folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def expect_alive(self) -> None:
        """Fails with the end of its log where it has ended by itself."""
        code = self._child.poll()
        assert code is None, f"{self.log.name} ended with {code}:\n{self.log.read_text(errors='replace')[-4_000:]}"

    def stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_END_S)
        finally:
            self._child.kill()


class Load:
    """Events of all kinds, at a steady rate, on a thread of its own."""

    def __init__(self, settings: Settings, rate: float, conversations: int) -> None:
        self._topic = settings.topics.events
        self._producer = Producer(
            {"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
        )
        self._pause_s = 1 / rate
        self._conversations = conversations
        self._seen: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def start(self) -> None:
        self._thread.start()

    def widen(self, rate: float, conversations: int) -> None:
        """From now on at this rate, to so many conversations in turn."""
        self._pause_s, self._conversations = 1 / rate, conversations

    @property
    def conversations(self) -> int:
        """How many were written to."""
        return len(self._seen)

    def stop(self) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.flush(_END_S)

    def _run(self) -> None:
        due = time.monotonic()
        # By the clock: what a busy machine delays is made up for.
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            due += self._pause_s
            number, self.sent = self.sent, self.sent + 1
            conversation = f"c-{number % self._conversations}"
            event: dict[str, Any] = {"conversation_id": conversation, "message_id": f"m-{number}"}
            match number % 50:
                case 10:
                    event |= {"type": "handoff"}
                case 11:
                    event |= {"type": "handback", "conversation_id": f"c-{(number - 1) % self._conversations}"}
                case 20:
                    event |= {"sender": "not a sender", "text": "hello"}
                case 30:
                    event |= {"sender": {"id": "u-1"}, "text": "hello", "expires_at": 1}
                case _:
                    event |= {"sender": {"id": "u-1"}, "text": f"Tell me of number {number}."}
            key = str(event["conversation_id"])
            self._seen.add(key)
            traceparent = f"00-{number + 1:032x}-b7ad6b7169203331-01"
            traced: list[tuple[str, str | bytes | None]] = [("traceparent", traceparent)]
            self._producer.produce(self._topic, orjson.dumps(event), key, headers=traced)
            self._producer.poll(0)


@dataclass(frozen=True, slots=True)
class Prometheus:
    port: int

    def range(self, query: str, seconds: float) -> list[dict[str, Any]]:
        """Every series of a query over the last seconds."""
        now = time.time()
        return self._ask("query_range", query=query, start=now - seconds, end=now, step=1)

    def instant(self, query: str) -> list[dict[str, Any]]:
        return self._ask("query", query=query)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return orjson.loads(answer.read())

    def _ask(self, what: str, **arguments: object) -> list[dict[str, Any]]:
        answer = self.get(f"/api/v1/{what}?{urllib.parse.urlencode(arguments)}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


class Scene:
    """Two workers, one with a torch engine and one scripted, that answer `rate` events a second."""

    def __init__(self, settings: Settings, folder: Path, *, rate: float = 20.0, conversations: int = 100) -> None:
        self._settings = settings
        self._folder = folder
        self.load = Load(settings, rate, conversations)
        self._processes: list[Process] = []
        self.ports = (free_port(), free_port())
        self.prometheus = Prometheus(free_port())

    def start(self) -> None:
        engines: tuple[dict[str, Any], ...] = (
            {"kind": "torch", "model": str(tiny_model(self._folder / "model")), "threads": 1, "max_batch": 8},
            {"kind": "scripted", "scripted_seconds_per_token": 0.02},
        )
        for number, (engine, port) in enumerate(zip(engines, self.ports, strict=True)):
            self._worker(number, engine, port)
        self._scraper()
        eventually(self._is_ready, _START_S)
        self.load.start()

    def stop(self) -> None:
        self.load.stop()
        for process in self._processes:
            process.stop()

    def _worker(self, number: int, engine: dict[str, Any], port: int) -> None:
        folder = self._folder / f"w-{number}"
        folder.mkdir()
        (folder / "bot.yaml").write_text(_BOT.replace("{port}", str(port)))
        pem, _ = self_signed(folder, days=90)
        tree = self._settings.model_dump(mode="json", exclude_defaults=True)
        tree["kafka"]["client"] = {"ssl.certificate.location": str(pem)}
        tree |= {
            "instance": str(number),
            "bots": [{"file": str(folder / "bot.yaml")}],
            "engine": engine,
            "understanding": {"encoder": None},
            "calls": {"allowed_hosts": ["127.0.0.1"]},
            "conversation": {"state_dir": str(folder / "state")},
            "observability": {"host": "127.0.0.1", "port": port},
        }
        file = folder / "stream-worker.yaml"
        file.write_bytes(orjson.dumps(tree))
        command = [sys.executable, "-m", "stream_worker", "run", "--config", str(file)]
        self._processes.append(Process(command, folder, "worker"))

    def _scraper(self) -> None:
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "chat", "pod": f"w-{number}"}}
            for number, port in enumerate(self.ports)
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "deploy" / "prometheus" / "rules.yaml")],
            "scrape_configs": [{"job_name": "stream-worker", "static_configs": targets}],
        }
        file = self._folder / "prometheus.yml"
        file.write_bytes(orjson.dumps(config))
        command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.prometheus.port}",
            "--enable-feature=exemplar-storage",
        ]
        self._processes.append(Process(command, self._folder, "prometheus"))

    def _is_ready(self) -> bool:
        """Whether every worker has partitions and Prometheus sees them all."""
        for process in self._processes:
            process.expect_alive()
        if not all((value(port, "assigned_partitions") or 0) > 0 for port in self.ports):
            return False
        try:
            return len(self.prometheus.instant("up == 1")) == len(self.ports)
        except OSError:
            return False
