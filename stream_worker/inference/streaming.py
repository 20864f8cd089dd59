"""An engine whose replies come as streams from elsewhere: a model server, or an engine with a loop of its own.

`StreamingEngine` keeps the contract of `Engine` over any `Source`. Orders come
from the worker thread; everything else happens in jobs on the I/O loop, one a
request, which share the counts below without a lock.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from stream_worker.async_runner import AsyncRunner
from stream_worker.clock import Clock
from stream_worker.inference.engine import Capabilities, EngineStats, Report
from stream_worker.orders import (
    Cancel,
    Encode,
    Ended,
    Expire,
    Failed,
    Fault,
    Forget,
    Generate,
    Generated,
    Order,
    Release,
    Result,
    Token,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.tokens import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What came of a reply: some text, and with the last one how it ended."""

    text: str = ""
    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    """The newest counts; generated ids are counted here where they are known."""


class StreamFailed(Exception):
    """A reply that does not come. The message holds nothing of the prompt."""

    def __init__(
        self, fault: Fault, message: str, reason: DeadLetterReason = DeadLetterReason.ATTEMPTS_EXHAUSTED
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.reason = reason


class Source(Protocol):
    """Where replies come from. All methods but `capabilities` are called on the I/O loop."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def kv_usage(self) -> float:
        """Used share of the memory for keys and values; 0 where it is not known."""
        ...

    async def live(self) -> None:
        """Opens what the source needs and waits; being cancelled, closes it. Runs as long as the engine."""
        ...

    def stream(self, order: Generate) -> AsyncGenerator[Piece]:
        """The pieces of one reply, the last one with a finish reason. Raises StreamFailed. Closing it ends the work."""
        ...


@dataclass(slots=True)
class _Reply:
    """What has come so far. Times are monotonic seconds."""

    accepted: float
    started: float = 0.0
    first_piece: float | None = None
    text: str = ""
    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=Usage)

    def add(self, piece: Piece, now: float) -> None:
        if self.first_piece is None and (piece.text or piece.ids):
            self.first_piece = now
        self.text += piece.text
        self.ids += piece.ids
        self.log_probabilities += piece.log_probabilities
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.usage = piece.usage or self.usage

    def end(self, ref: TurnRef, reason: FinishReason, now: float) -> Generated:
        first = now if self.first_piece is None else self.first_piece
        usage = replace(self.usage, generated=len(self.ids)) if self.ids else self.usage
        return Generated(
            ref=ref,
            text=self.text,
            ids=tuple(self.ids),
            finish_reason=reason,
            usage=usage,
            queued_seconds=self.started - self.accepted,
            first_token_seconds=first - self.accepted,
            seconds=now - self.accepted,
            log_probabilities=tuple(self.log_probabilities),
        )


class StreamingEngine:
    """Implements `Engine` for generating. At most `max_streams` replies come at the same time; the others wait."""

    def __init__(self, source: Source, runner: AsyncRunner, report: Report, clock: Clock, max_streams: int) -> None:
        self._source = source
        self._runner = runner
        self._report_to = report
        self._clock = clock
        self._room = asyncio.Semaphore(max_streams)
        self._open: set[TurnRef] = set()
        self._running = 0
        self._pieces = 0
        self._closed = False
        runner.start(_SOURCE, source.live)

    @property
    def capabilities(self) -> Capabilities:
        return self._source.capabilities

    def submit(self, order: Order) -> None:
        if self._closed:
            return
        match order:
            case Generate():
                self._open.add(order.ref)
                self._runner.start(_key(order.ref), lambda: self._generate(order))
            case Cancel():
                self._runner.cancel(_key(order.ref))
            case Forget() | Release() | Expire():
                # Nothing is kept here. What a server keeps is another's: see `Capabilities.forgetting`.
                pass
            case Encode():
                raise RuntimeError("this engine generates only: texts are understood on the device thread")
            case _:
                assert_never(order)

    def stats(self) -> EngineStats:
        """The I/O thread has a beat and a watchdog of its own."""
        capacity = self.capabilities.max_context_tokens
        return EngineStats(
            running=self._running,
            waiting=len(self._open) - self._running,
            kv_tokens=round(self._source.kv_usage * capacity),
            kv_capacity_tokens=capacity,
            steps=self._pieces,
            beat=self._clock.monotonic(),
        )

    def close(self, deadline_s: float) -> None:  # noqa: ARG002  # the loop's own close waits for what ends
        self._closed = True
        for ref in list(self._open):
            self._runner.cancel(_key(ref))
        self._runner.cancel(_SOURCE)

    def _report(self, result: Result) -> None:
        if not self._closed:
            self._report_to(result)

    async def _generate(self, order: Generate) -> None:
        """One request, from acceptance to its one end."""
        reply = _Reply(self._clock.monotonic())
        try:
            async with self._room:
                self._running += 1
                try:
                    await self._stream(order, reply)
                finally:
                    self._running -= 1
        except asyncio.CancelledError:
            self._report(Ended(ref=order.ref))
            raise
        except StreamFailed as error:
            self._report(Failed(ref=order.ref, fault=error.fault, reason=error.reason, message=str(error)))
        finally:
            self._open.discard(order.ref)

    async def _stream(self, order: Generate, reply: _Reply) -> None:
        reply.started = self._clock.monotonic()
        async with aclosing(self._source.stream(order)) as pieces:
            async for piece in pieces:
                self._pieces += 1
                reply.add(piece, self._clock.monotonic())
                if piece.text:
                    self._report(Token(ref=order.ref, text=piece.text, ids=piece.ids))
        if reply.finish_reason is None:
            raise StreamFailed(Fault.ENGINE, "the stream of the reply ended before the reply did")
        if order.sampling.json_schema is not None and reply.finish_reason is not FinishReason.STOP:
            message = f"the reply cannot keep to its JSON schema: it ended ({reply.finish_reason}) amid the JSON text"
            raise StreamFailed(Fault.EVENT, message, DeadLetterReason.SCHEMA_NOT_MET)
        self._report(reply.end(order.ref, reply.finish_reason, self._clock.monotonic()))


_SOURCE = "source of replies"


def _key(ref: TurnRef) -> tuple[str, TurnRef]:
    return ("reply", ref)
