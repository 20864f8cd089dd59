"""`config check --online` opens the connections that `run` would open, and says what it found of each."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.outputs import assert_as_documented
from tests.unit.cli.test_frame import run

BOT = "bot: shop\nfallback: {reply: {template: Hello}}\n"


class ListsOneModel(BaseHTTPRequestHandler):
    asked: list[tuple[str, str]] = []  # noqa: RUF012  # of the class: a handler lives for one request

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path))
        content = json.dumps({"data": [{"id": "small"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    ListsOneModel.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), ListsOneModel) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/v1"
        found.shutdown()


@pytest.mark.parametrize(("model", "result"), [("small", "fine"), ("large", "warning")])
def test_the_model_server_is_asked_which_models_it_has(server: str, model: str, result: str, tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text(BOT, encoding="utf-8")
    (tmp_path / "stream-worker.yaml").write_text(
        f"bots: [{{file: bot.yaml}}]\nengine: {{kind: openai, model: {model}, openai: {{base_url: '{server}'}}}}\n"
        "kafka: {bootstrap_servers: '127.0.0.1:9'}\n",
        encoding="utf-8",
    )
    done = run("config check --online -o json", tmp_path)
    # The broker is not there; what was found before is told all the same.
    assert done.returncode == 3
    assert "SW-K001" in done.stderr
    (rows,) = assert_as_documented("config check", done.stdout, "json")
    (found,) = (row for row in rows if row["part"] == "server")
    assert (found["result"], "small" in found["what"]) == (result, True)
    assert ListsOneModel.asked == [("GET", "/v1/models")]


def test_no_model_server_is_one_error_and_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text(BOT, encoding="utf-8")
    (tmp_path / "stream-worker.yaml").write_text(
        "bots: [{file: bot.yaml}]\nengine: {kind: openai, openai: {base_url: 'http://127.0.0.1:9/v1'}}\n",
        encoding="utf-8",
    )
    done = run("config check --online", tmp_path)
    assert done.returncode == 3
    assert "SW-M012" in done.stderr
    assert "Traceback" not in done.stderr
