"""A turn's calls over HTTP: reads, to hosts that the operator allows, each within its deadline.

What always holds: no host but the allowed ones is spoken to, redirects are
not followed, and an answer is never larger than `max_bytes`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from stream_worker.async_runner import AsyncRunner
from stream_worker.clock import Clock
from stream_worker.orders import Call, Called, CallFailed, TurnRef
from stream_worker.settings.calls import CallSettings

Report = Callable[[Called | CallFailed], None]

_FIRST_BACKOFF_S = 0.1
_AGAIN = frozenset({429, 500, 502, 503, 504})


class HttpCaller:
    """A `Caller` on the I/O loop."""

    def __init__(
        self,
        settings: CallSettings,
        runner: AsyncRunner,
        report: Report,
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._report = report
        self._clock = clock
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    def submit(self, order: Call) -> None:
        self._runner.start(_key(order.ref, order.number), lambda: self._make(order))

    def cancel(self, ref: TurnRef, calls: int) -> None:
        for number in range(1, calls + 1):
            self._runner.cancel(_key(ref, number))

    async def _make(self, order: Call) -> None:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(order.timeout_ms / 1000):
                result = await self._answer(order)
        except TimeoutError:
            result = _Refusal(f"no answer within {order.timeout_ms} ms")
        except Exception as error:  # noqa: BLE001  # whatever a turn's words make of a request, it is that turn's alone
            result = _Refusal(f"it cannot be made ({type(error).__name__})")
        seconds = self._clock.monotonic() - started
        if isinstance(result, _Refusal):
            self._report(CallFailed(ref=order.ref, number=order.number, message=result.why, seconds=seconds))
        else:
            self._report(Called(ref=order.ref, number=order.number, result=result, seconds=seconds))

    async def _answer(self, order: Call) -> Any:
        """The decoded answer, or why there is none."""
        try:
            url = httpx2.URL(order.url)
        except httpx2.InvalidURL:
            return _Refusal("the url is not valid")
        if url.scheme not in ("http", "https") or not is_allowed(url.host, self._settings.allowed_hosts):
            return _Refusal("its host is not one of calls.allowed_hosts")
        wait = _FIRST_BACKOFF_S
        for attempt in range(order.retries + 1):
            result = await self._attempt(order, url)
            if not isinstance(result, _Refusal) or not result.again or attempt == order.retries:
                return result
            await asyncio.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns")

    async def _attempt(self, order: Call, url: httpx2.URL) -> Any:
        headers = {
            **order.headers,
            **self._settings.headers.get(url.host, {}),
            "Idempotency-Key": f"{order.ref.turn_id}/{order.number}",
        }
        try:
            async with self._opened().stream("GET", url, params=_merged(url, order.parameters), headers=headers) as got:
                if not got.is_success:
                    return _Refusal(f"status {got.status_code}", again=got.status_code in _AGAIN)
                body = bytearray()
                async for piece in got.aiter_bytes():
                    body += piece
                    if len(body) > self._settings.max_bytes:
                        return _Refusal(f"the answer is larger than calls.max_bytes ({self._settings.max_bytes})")
        except httpx2.HTTPError as error:
            return _Refusal(type(error).__name__, again=True)
        return _decoded(bytes(body))

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(transport=self._transport, timeout=None, follow_redirects=False)
        return self._client


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a call came to nothing, and whether trying again may help."""

    why: str
    again: bool = False


def is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a host is one of the allowed ones; `*.example.org` allows every host below that domain."""
    return any(host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in allowed)


def _merged(url: httpx2.URL, parameters: Mapping[str, str]) -> Any:
    """The query of the url itself and the parameters."""
    return url.params.merge(parameters) if parameters else url.params


def _decoded(body: bytes) -> object:
    """As JSON; as text where it is none, or nests so deep that nobody could write it again."""
    try:
        value = orjson.loads(body)
        orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body.decode("utf-8", "replace")
    return value


def _key(ref: TurnRef, number: int) -> tuple[str, TurnRef, int]:
    return ("call", ref, number)
