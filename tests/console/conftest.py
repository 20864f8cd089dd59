"""One scene for all browser tests: a real broker, a worker with the scripted engine, the console, Chromium."""

import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, expect, sync_playwright

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.processes import WorkerProcess

ROOT = Path(__file__).parents[2]
WIDE, NARROW = (1440, 900), (390, 844)
#: A guard, not an expectation: a machine that does something else meanwhile must not fail a test.
GUARD_S = 240.0
expect.set_options(timeout=1_000 * GUARD_S)

#: A dashboard as Grafana's own tools write it.
DASHBOARD = {
    "uid": "test",
    "title": "Answers",
    "panels": [
        {"id": 1, "type": "row", "title": "Speed", "gridPos": {"w": 24}},
        {
            "id": 2,
            "type": "timeseries",
            "title": "Replies",
            "gridPos": {"w": 12},
            "fieldConfig": {"defaults": {"unit": "s"}},
            "targets": [{"expr": 'rate(up{job=~"$job"}[$__rate_interval])', "legendFormat": "{{pod}}"}],
        },
    ],
}


@dataclass(slots=True)
class Scene:
    """What the tests share: the console's address, and the topics behind it."""

    settings: Settings
    url: str
    worker: WorkerProcess
    _producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        client = {"bootstrap.servers": self.settings.kafka.bootstrap_servers, "linger.ms": 0}
        self._producer = Producer({**client, "partitioner": "murmur2_random"})

    def write(self, topic: str, key: str, value: object) -> None:
        """Into a topic of the application, as its name stands in the settings."""
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        self._producer.produce(topic, raw, key)
        assert self._producer.flush(GUARD_S) == 0

    def say(self, conversation: str, event_id: str, text: str) -> None:
        event = {"conversation_id": conversation, "message_id": event_id, "sender": {"id": "u-1"}, "text": text}
        self.write(self.settings.topics.events, conversation, event)

    def body(self, path: str) -> str:
        request = urllib.request.Request(self.url + path, headers={"Accept": "text/html"})
        with urllib.request.urlopen(request, timeout=GUARD_S) as answer:
            text: str = answer.read().decode()
            return text

    def post(self, path: str, fields: dict[str, str]) -> str:
        """What a form of the page sends; the page that it leads to."""
        (csrf,) = set(re.findall('name="csrf" value="([^"]+)"', self.body("/try?id=forms")))
        data = urllib.parse.urlencode({**fields, "csrf": csrf}).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=GUARD_S) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with EmbeddedBroker(folder / "broker") as broker:
        settings = Settings.model_validate(
            {
                "application_id": "scene",
                "kafka": {"bootstrap_servers": broker.bootstrap_servers, "start_at": "earliest"},
                "topics": {"partitions": 8, "replication_factor": 1, "min_insync_replicas": 1},
                "bots": [{"file": str(folder / "worker" / "bot.yaml")}],
                "engine": {"kind": "scripted"},
            }
        )
        create(connect(settings), topic_table(settings))
        with (
            WorkerProcess(settings, folder / "worker", "w-0", seconds_per_token=0.02) as worker,
            ConsoleProcess(settings, folder, "--rehearse") as console,
        ):
            found = Scene(settings, console.url, worker)
            _fill(found)
            yield found


def _fill(scene: Scene) -> None:
    for number in range(12):
        scene.say(f"person-{number}", f"m-{number}", "How do I return a parcel that came broken?")
    scene.write(scene.settings.topics.events, "person-1", b"{ not json")
    eventually(lambda: "invalid json" in scene.body("/letters"), GUARD_S)
    eventually(lambda: "waits" not in scene.body("/conversations"), GUARD_S)


class ConsoleProcess:
    """`stream-worker console` as a person starts it."""

    def __init__(self, settings: Settings, folder: Path, *arguments: str) -> None:
        dashboards = folder / "dashboards"
        dashboards.mkdir(exist_ok=True)
        (dashboards / "test.json").write_bytes(orjson.dumps(DASHBOARD))
        file = folder / "console.yaml"
        file.write_bytes(orjson.dumps(settings.model_dump(mode="json", exclude_defaults=True)))
        options = ["--config", str(file), "--port", "0", "--allow-changes", "--who", "kim", *arguments]
        self._log = folder / "console.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream_worker", "console", *options, "--dashboards", str(dashboards)],
                cwd=ROOT,
                stderr=log,
            )
        self.url = eventually(self._address, GUARD_S)

    def _address(self) -> str:
        assert self._process.poll() is None, self._log.read_text()
        name, _, url = self._log.read_text().partition("\n")[0].partition("  ")
        return url if name == "Console" else ""

    def __enter__(self) -> "ConsoleProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(GUARD_S) == 0, self._log.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(GUARD_S)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "Chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        # Nothing but this machine can be reached: whatever else a page asks for fails, and is seen.
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", rules])
        yield browser
        browser.close()


@dataclass(slots=True)
class Tab:
    """A page, and what went wrong in it."""

    page: Page
    faults: list[str] = field(default_factory=list)


def open_tab(browser: Browser, size: tuple[int, int] = WIDE, theme: str = "light") -> tuple[BrowserContext, Tab]:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(1_000 * GUARD_S)
    tab = Tab(context.new_page())

    def failed(request: Request) -> None:
        what = f"{request.url}: {request.failure}"
        # What a page still asks for ends with it; what could not be reached ends otherwise.
        if "http://127.0.0.1" not in what or "ERR_ABORTED" not in what:
            tab.faults.append(what)

    tab.page.on("requestfailed", failed)

    def answered(answer: Response) -> None:
        if answer.status >= 400:
            tab.faults.append(f"{answer.url}: {answer.status}")

    tab.page.on("response", answered)
    tab.page.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.page.on("console", lambda line: tab.faults.append(line.text) if line.type == "error" else None)
    return context, tab


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    context, opened = open_tab(chromium)
    yield opened
    context.close()
    assert opened.faults == []
