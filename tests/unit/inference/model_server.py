"""A model server for tests: OpenAI's streaming chat completions over a real socket, and its faults."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

import orjson

WORDS = ("yes", "no", "sure", "perhaps", "of", "course", "see", "here", "now")


class Trouble(Enum):
    """What the server does instead of answering, once."""

    REFUSE = "refuse"
    """Closes the connection without an answer."""
    SILENT = "silent"
    """Takes the request and says nothing."""
    CUT = "cut"
    """Closes the connection after two words."""
    STALL = "stall"
    """Says nothing after two words."""
    NOT_JSON = "not json"
    ERROR_EVENT = "error event"
    NO_END = "no end"
    """Ends the stream as it should, but without a finish reason."""


@dataclass(frozen=True, slots=True)
class Status:
    """Another status than 200, with an error's code and a Retry-After."""

    code: int
    error: str = "rate_limit"
    retry_after: str = ""


@dataclass(slots=True)
class ModelServer:
    """Runs on a thread of its own. `faults` are used up one a request; `seen` keeps every request."""

    seconds_per_word: float = 0.0
    faults: list[Trouble | Status] = field(default_factory=list)
    seen: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    closed_by_client: int = 0
    running: int = 0
    most_running: int = 0
    port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "ModelServer":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(10)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        # A connection whose task had not begun yet has not closed its own.
        for writer in list(self._writers):
            await self._close(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "asyncio.Task[None]":
        self._writers.add(writer)
        return asyncio.create_task(self._connection(reader, writer))

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers, body = await _request(reader)
                self.seen.append((headers, body))
                self.running += 1
                self.most_running = max(self.most_running, self.running)
                try:
                    if not await self._answer(body, reader, writer):
                        return
                finally:
                    self.running -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            await self._close(writer)

    async def _answer(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False when the connection is to be closed."""
        fault = self.faults.pop(0) if self.faults else None
        match fault:
            case Status():
                _head(writer, fault)
                return True
            case Trouble.REFUSE:
                return False
            case Trouble.SILENT:
                await self._hang(reader)
                return False
        _head(writer, None)
        async for number, chunk in _chunks(body, self.seconds_per_word):
            if reader.at_eof():
                self.closed_by_client += 1
                return False
            if fault in _AFTER_TWO_WORDS and number == 2:
                if fault is Trouble.STALL:
                    await self._hang(reader)
                    return False
                if fault is Trouble.CUT:
                    return False
                event = b"{not json" if fault is Trouble.NOT_JSON else b'{"error": {"code": "overloaded"}}'
                _write(writer, b"data: " + event + b"\n\n")
            if fault is Trouble.NO_END and chunk["choices"]:
                chunk["choices"][0]["finish_reason"] = None
            _write(writer, b"data: " + orjson.dumps(chunk) + b"\n\n")
            await writer.drain()
        _write(writer, b"data: [DONE]\n\n")
        _write(writer, b"")
        await writer.drain()
        return True

    async def _hang(self, reader: asyncio.StreamReader) -> None:
        """Until the client goes."""
        await reader.read()
        self.closed_by_client += 1


_AFTER_TWO_WORDS = {Trouble.CUT, Trouble.STALL, Trouble.NOT_JSON, Trouble.ERROR_EVENT}


def reply_words(body: dict[str, Any]) -> list[str]:
    """A pure function of the messages and, above temperature 0, of the seed."""
    seed = body.get("seed", 0) if body.get("temperature") else 0
    digest = blake2b(orjson.dumps([body["messages"], seed]), digest_size=64).digest()
    words = [WORDS[byte % len(WORDS)] for byte in digest]
    return [words[0], *(f" {word}" for word in words[1:])]


async def _chunks(body: dict[str, Any], seconds: float) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    words = reply_words(body)
    most = body["max_tokens"]
    said = words[:most]
    yield 0, _chunk({"role": "assistant", "content": ""})
    for number, word in enumerate(said):
        await asyncio.sleep(seconds)
        scores = {"content": [{"token": word, "logprob": -0.5}]} if body.get("logprobs") else None
        yield number, _chunk({"content": word}, scores)
    finish = "length" if len(words) > most else "stop"
    yield len(said), {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    if body.get("stream_options"):
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        details = {"cached_tokens": min(1, prompt)}
        usage = {"prompt_tokens": prompt, "completion_tokens": len(said), "prompt_tokens_details": details}
        yield len(said), {"choices": [], "usage": usage}


def _chunk(delta: dict[str, str], scores: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": scores, "finish_reason": None}]}


async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, str], dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
    return headers, orjson.loads(await reader.readexactly(int(headers["content-length"])))


def _head(writer: asyncio.StreamWriter, status: Status | None) -> None:
    if status is None:
        lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", "", ""]
        writer.write("\r\n".join(lines).encode())
        return
    # As servers do, the error repeats what was sent: it must go no further.
    body = orjson.dumps({"error": {"message": "you sent SECRET-TEXT", "code": status.error}})
    again = [f"retry-after: {status.retry_after}"] if status.retry_after else []
    lines = [f"HTTP/1.1 {status.code} Trouble", f"content-length: {len(body)}", *again, "", ""]
    writer.write("\r\n".join(lines).encode() + body)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
