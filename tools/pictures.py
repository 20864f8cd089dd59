"""Takes the pictures of the docs: `make pictures`.

A real broker, two workers with the demo's bot and model, a Prometheus where one is installed, the console, and
Chromium. What is seen is what happened: the conversations below are sent, and answered by the model.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from ruamel.yaml import YAML

from stream_worker.cache import cache_folder
from stream_worker.cli.demo import prepare_bot
from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.event_sender import EventSender
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings

ROOT = Path(__file__).parents[1]
WIDE, NARROW = (1440, 900), (390, 844)
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
_PARTITIONS = 24
_WAIT_S = 240.0

CONVERSATIONS: dict[str, list[str]] = {
    "ada": ["Hello!", "What's the weather in Beijing?", "What about Shanghai?", "Thank you!"],
    "grace": ["Turn on the lamp in the kitchen", "And what is the weather in London tomorrow?"],
    "linus": ["Who won the chess tournament in 1997?"],
    "mei": ["北京天气怎么样？", "谢谢"],
    "noor": ["Good morning", "Turn off the light in the bedroom", "Goodbye"],
    "olu": ["I want to talk to a human", "My parcel is lost"],
    "pia": ["How are you today?", "What is the weather in Lagos?"],
    "sam": ["Is it going to rain in Oslo?"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--every", action="store_true", help="each page at both widths and in both themes")
    parser.add_argument("--stay", action="store_true", help="leave the scene running until Ctrl-C")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        console = stack.enter_context(scene(folder))
        print(console, flush=True)
        browser = stack.enter_context(chromium())
        take(browser, console, arguments.out, every=arguments.every)
        while arguments.stay:
            time.sleep(1)


@contextmanager
def scene(folder: Path) -> Iterator[str]:
    """The console's address, when every conversation was answered."""
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(folder / "kafka"))
        settings = _settings(folder, broker.bootstrap_servers)
        create(connect(settings), topic_table(settings))
        prepare_bot(cache_folder("demo"), lambda text: print(text, file=sys.stderr))
        ports = [stack.enter_context(_worker(settings, folder, instance)) for instance in ("worker-0", "worker-1")]
        prometheus = stack.enter_context(_prometheus(folder, ports))
        console = stack.enter_context(_console(folder, prometheus))
        _talk(settings)
        _await(lambda: _is_quiet(console), "every event is answered")
        yield console


def _settings(folder: Path, servers: str) -> Settings:
    return Settings.model_validate(
        {
            "application_id": "assistant",
            "bots": [{"file": cache_folder("demo") / "bot.yaml"}],
            "kafka": {"bootstrap_servers": servers, "start_at": "earliest"},
            "topics": {"partitions": _PARTITIONS, "replication_factor": 1, "min_insync_replicas": 1},
            "conversation": {"state_dir": folder / "state"},
            "observability": {"host": "127.0.0.1", "port": 0},
        }
    )


@contextmanager
def _worker(settings: Settings, folder: Path, instance: str) -> Iterator[int]:
    """The port of its metrics."""
    port = _free_port()
    tree = settings.model_dump(mode="json", exclude_none=True)
    tree["instance"] = instance
    tree["observability"]["port"] = port
    tree["conversation"]["state_dir"] = str(folder / f"state-{instance}")
    file = folder / f"{instance}.yaml"
    with file.open("w", encoding="utf-8") as out:
        YAML(typ="safe").dump(tree, out)
    shutil.copy(file, folder / "stream-worker.yaml")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with _child(folder, instance, "-m", "stream_worker", "run", "--config", str(file), environment=environment):
        _await(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), f"{instance} is ready")
        yield port


@contextmanager
def _prometheus(folder: Path, ports: list[int]) -> Iterator[str | None]:
    program = shutil.which("prometheus")
    if program is None:
        yield None
        return
    port = _free_port()
    targets = [{"targets": [f"127.0.0.1:{each}" for each in ports], "labels": {"namespace": "demo"}}]
    job = {"job_name": "stream-worker", "scrape_interval": "5s", "static_configs": targets}
    with (folder / "prometheus.yml").open("w", encoding="utf-8") as out:
        YAML(typ="safe").dump({"scrape_configs": [job]}, out)
    arguments = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log, _ended(subprocess.Popen(arguments, stdout=log, stderr=log)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _console(folder: Path, prometheus: str | None) -> Iterator[str]:
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    more = ["--prometheus", prometheus] if prometheus else []
    dashboards = ROOT / "deploy" / "grafana"
    more += ["--dashboards", str(dashboards)] if dashboards.is_dir() else []
    arguments = ["--config", str(folder / "stream-worker.yaml"), "--port", str(port), "--allow-changes", "--rehearse"]
    arguments += ["--who", "kim"]
    with _child(folder, "console", "-m", "stream_worker", "console", *arguments, *more):
        _await(lambda: _answers(f"{address}/readyz"), "the console answers")
        yield address


@contextmanager
def _child(folder: Path, name: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=log, stderr=log, env=environment)
        with _ended(process):
            yield


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _talk(settings: Settings) -> None:
    """Everybody at once, each message after the one before it; then what cannot be answered."""
    sender = EventSender(settings)
    for turn in range(max(map(len, CONVERSATIONS.values()))):
        for name, said in CONVERSATIONS.items():
            if turn < len(said):
                event = {
                    "conversation_id": name,
                    "message_id": f"{name}-{turn}",
                    "sender": {"id": name},
                    "text": said[turn],
                    "channel": "web",
                }
                sender.send(name, event)
    servers = settings.kafka.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    for key, value in (
        ("ivo", b"{ not json"),
        ("ivo", b'{"conversation_id": "ivo"}'),
        ("jan", b'{"text": 1}'),
        ("jan", b"{"),
    ):
        producer.produce(settings.topics.events, value, key)
    producer.flush(10)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


PAGES = {
    "overview": "/",
    "conversations": "/conversations",
    "conversation": "/conversation?id=ada",
    "try": "/try?id=ada",
    "turn": "/conversation?id=ada",
    "letters": "/letters",
    "edit": "/letters",
    "redrive": "/letters/redrive?reason=invalid_json",
    "group": "/group",
    "dashboards": "/dashboards",
    "contracts": "/contracts",
    "settings": "/settings",
}


def _run_again(page: Page) -> None:
    page.get_by_role("link", name="prompt", exact=False).last.click()
    page.get_by_role("button", name="Run again").click()
    page.locator("#again").wait_for()


def _edit(page: Page) -> None:
    page.locator("tbody a").first.click()
    page.get_by_role("link", name="Edit…").click()
    page.locator("textarea").wait_for()


#: What is done on a page before its picture is taken.
_STEPS = {"turn": _run_again, "edit": _edit}

#: What the docs show.
SHOWN = (
    ("overview", WIDE, "light"),
    ("conversation", WIDE, "light"),
    ("conversation", WIDE, "dark"),
    ("conversation", NARROW, "dark"),
    ("turn", WIDE, "light"),
    ("letters", WIDE, "light"),
    ("group", WIDE, "dark"),
    ("dashboards", WIDE, "light"),
)


def take(browser: Browser, console: str, out: Path, *, every: bool) -> None:
    shots: tuple[tuple[str, tuple[int, int], str], ...] = SHOWN
    if every:
        shots = tuple((name, size, theme) for name in PAGES for size in (WIDE, NARROW) for theme in ("light", "dark"))
    for name, (width, height), theme in shots:
        context: Any = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
        page = browser.new_page(**context, device_scale_factor=1 if width > 1_000 else 2)
        page.set_default_timeout(1_000 * _WAIT_S)
        page.goto(console + PAGES[name])
        if name in _STEPS:
            _STEPS[name](page)
        _settle(page)
        picture = Image.open(io.BytesIO(page.screenshot()))
        file = out / f"console-{name}-{width}-{theme}.png"
        picture.convert("RGB").save(file, optimize=True)
        page.close()


def _settle(page: Page) -> None:
    """Until the stream lives and every panel in sight is drawn."""
    page.wait_for_function("document.fonts.ready")
    page.wait_for_function(
        "() => !document.body.dataset.watch || document.getElementById('stream').dataset.state === 'live'"
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-panel]')].filter((each) => each.getBoundingClientRect().top"
        " < innerHeight).every((each) => 'drawn' in each.dataset)"
    )
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)


def _is_quiet(console: str) -> bool:
    """Every conversation is there, and none waits."""
    request = urllib.request.Request(f"{console}/conversations", headers={"HX-Request": "true"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read().decode()
    return all(f">{name}<" in text for name in CONVERSATIONS) and ">waits" not in text


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            json.loads(answer.read())
            return True
    except (OSError, ValueError):
        return False


def _await(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {_WAIT_S:.0f} s: {what}")
        time.sleep(0.2)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
