"""A reply may be judged by a model: any server with OpenAI's chat completions, here a small one of our own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_worker.cli import app as frame
from stream_worker.errors import Missing
from stream_worker.golden.judge import ModelJudge


class _Server(ThreadingHTTPServer):
    verdict = "YES. It is."
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        answer = json.dumps({"choices": [{"message": {"content": self.server.verdict}}]}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.yaml").write_text("bot: polite\nfallback: {reply: {template: Thank you.}}\n")
    (tmp_path / "tests" / "conversations").mkdir(parents=True)
    conversation = "conversation: manners\nsteps:\n  - user: hello\n  - expect: {judge: It is polite.}\n"
    (tmp_path / "tests" / "conversations" / "manners.yml").write_text(conversation)
    return tmp_path


def _run(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(frame.app, ["test", str(folder), *arguments])


def test_a_reply_is_judged_by_the_server_that_is_named(folder: Path, server: _Server) -> None:
    done = _run(folder, "--judge", server.url, "--judge-model", "judge-7b")
    assert done.exit_code == 0, done.output
    ((path, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"]) == ("judge-7b", 0)
    assert "It is polite." in body["messages"][0]["content"]
    assert "Thank you." in body["messages"][0]["content"]


def test_what_the_judge_says_is_the_reason_of_the_failure(folder: Path, server: _Server) -> None:
    server.verdict = "NO, it is curt."
    done = _run(folder, "--judge", server.url)
    assert done.exit_code == 1
    assert "NO, it is curt." in done.output


def test_without_a_judge_the_steps_are_said_not_to_be_judged(folder: Path) -> None:
    done = _run(folder)
    assert done.exit_code == 0
    assert "not judged (--judge)" in done.output


@pytest.mark.parametrize("status", [401, 500])
def test_a_judge_that_does_not_answer_is_no_verdict(server: _Server, status: int) -> None:
    server.status = status
    with pytest.raises(Missing, match="does not answer"):
        ModelJudge(server.url, "m")("It is polite.", "Thank you.")
