"""Generates with any server that speaks OpenAI's streaming chat completions. Runs on the I/O loop.

What always holds: a reply begins once. A request is sent again only while none
of its text has come, and only where the server said that it did not take it,
or could not be reached. A message of an error never holds text of a prompt or
reply, nor the key.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import httpx2
import orjson

from stream_worker.inference.engine import Capabilities, Feature, Forgetting, Takes
from stream_worker.inference.streaming import Piece, StreamFailed
from stream_worker.orders import Fault, Generate
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.settings.engine import OpenAiSettings
from stream_worker.tokens import PromptMessages, Usage

_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSED,
    "tool_calls": FinishReason.STOP,
}
_CONFIGURATION = frozenset({401, 403, 404})
_BUSY = frozenset({408, 425, 429})
_LONGEST_PAUSE_S = 30.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Again(Exception):
    """The server did not take the request; it may be sent again after `pause_s` seconds (None: the usual time)."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class OpenAiSource:
    """Implements `Source` over one server."""

    def __init__(
        self,
        settings: OpenAiSettings,
        *,
        model: str,
        max_context_tokens: int,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._transport = transport
        self._opened: asyncio.Future[httpx2.AsyncClient] | None = None
        self.capabilities = Capabilities(
            takes=Takes.MESSAGES,
            deterministic=False,
            forgetting=Forgetting.NONE,
            model=model,
            max_context_tokens=max_context_tokens,
            features=frozenset(Feature) - {_FEATURE_OF[name] for name in settings.omit if name in _FEATURE_OF},
        )

    @property
    def kv_usage(self) -> float:
        return 0.0

    async def live(self) -> None:
        """Holds the client, and with it the server's connections."""
        settings = self._settings
        headers = {} if settings.api_key is None else {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
        async with httpx2.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers=headers,
            # How long a token may take is measured around the events of the stream, not of the socket.
            timeout=httpx2.Timeout(None, connect=settings.connect_timeout_ms / 1000),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=settings.max_concurrent),
            proxy=settings.proxy,
            trust_env=False,
            transport=self._transport,
        ) as client:
            self._client_of_loop().set_result(client)
            await asyncio.Event().wait()

    async def stream(self, order: Generate) -> AsyncGenerator[Piece]:
        request = self._request(order)
        client = await asyncio.shield(self._client_of_loop())
        attempt = 0
        while True:
            try:
                async for piece in self._once(client, request, order):
                    yield piece
                return
            except _Again as error:
                # Raised before the first piece only: nothing of this reply was handed out.
                if attempt >= self._settings.max_retries:
                    raise StreamFailed(Fault.ENGINE, str(error)) from error
                usual = self._settings.retry_backoff_ms / 1000 * 2**attempt
                await asyncio.sleep(min(_LONGEST_PAUSE_S, usual if error.pause_s is None else error.pause_s))
                attempt += 1

    def _client_of_loop(self) -> "asyncio.Future[httpx2.AsyncClient]":
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
        return self._opened

    async def _once(
        self, client: httpx2.AsyncClient, request: dict[str, Any], order: Generate
    ) -> AsyncGenerator[Piece]:
        """One request. Raises _Again while nothing has come of it, StreamFailed for good."""
        settings = self._settings
        headers = {"Accept": "text/event-stream", "x-session-id": _session(order)}
        timeout = asyncio.timeout(settings.first_token_timeout_ms / 1000)
        begun = False
        try:
            async with timeout, client.stream("POST", "chat/completions", json=request, headers=headers) as response:
                if response.status_code != httpx2.codes.OK:
                    raise await _refusal(response)
                async for event in _events(response):
                    piece = _piece(event)
                    if piece.text or piece.finish_reason:
                        begun = True
                    timeout.reschedule(_now() + self._patience_s(begun))
                    yield piece
        except TimeoutError as error:
            what = "between two tokens" if begun else "before the first token"
            message = f"the model server was silent for {self._patience_s(begun):.0f} s {what}"
            raise StreamFailed(Fault.ENGINE, message) from error
        except httpx2.HTTPError as error:
            message = f"the model server at {settings.address} failed ({type(error).__name__})"
            raise (StreamFailed(Fault.ENGINE, message) if begun else _Again(message)) from error

    def _patience_s(self, begun: bool) -> float:
        settings = self._settings
        return (settings.between_tokens_timeout_ms if begun else settings.first_token_timeout_ms) / 1000

    def _request(self, order: Generate) -> dict[str, Any]:
        """The body. What is as servers do it anyway is left out, and so is what the settings say."""
        assert isinstance(order.prompt, PromptMessages), "this engine takes messages"
        sampling = order.sampling
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role.value, "content": message.text} for message in order.prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._settings.max_tokens_field: sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "seed": order.seed,
            "prompt_cache_key": _session(order),
            **_unless_usual(order),
            **({"cache_salt": _digest(order.cache_scope)} if self._settings.salted_cache else {}),
            **self._settings.extra_body,
        }
        return {name: value for name, value in request.items() if name not in self._settings.omit}


def _unless_usual(order: Generate) -> dict[str, Any]:
    """Fields that not every server knows, where they mean something."""
    sampling = order.sampling
    given: dict[str, tuple[bool, Any]] = {
        "top_p": (sampling.top_p < 1, sampling.top_p),
        "top_k": (sampling.top_k > 0, sampling.top_k),
        "min_p": (sampling.min_p > 0, sampling.min_p),
        "repetition_penalty": (sampling.repetition_penalty != 1, sampling.repetition_penalty),
        "stop": (bool(sampling.stop), list(sampling.stop)),
        "logit_bias": (bool(sampling.logit_bias), {str(token): bias for token, bias in sampling.logit_bias}),
        "logprobs": (sampling.log_probabilities, True),
    }
    fields = {name: value for name, (is_given, value) in given.items() if is_given}
    if sampling.json_schema is not None:
        schema = {"name": "reply", "strict": True, "schema": orjson.loads(sampling.json_schema)}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


#: What a server that does not take a field cannot do.
_FEATURE_OF = {
    "seed": Feature.SEED,
    "logprobs": Feature.LOG_PROBABILITIES,
    "response_format": Feature.JSON_SCHEMA,
    "logit_bias": Feature.LOGIT_BIAS,
}


def _session(order: Generate) -> str:
    """Names the conversation to a router without telling who it is."""
    return _digest(f"{order.cache_scope}\0{order.conversation}")


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """The stream's events, up to `[DONE]`. Raises StreamFailed for one that cannot be read or tells of an error."""
    async for event in httpx2.EventSource(response):
        if event.data.strip() == "[DONE]":
            return
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise StreamFailed(Fault.ENGINE, "the model server sent an event that is not JSON") from error
        if not isinstance(value, dict):
            raise StreamFailed(Fault.ENGINE, "the model server sent an event that is not an object")
        if value.get("error"):
            raise StreamFailed(Fault.ENGINE, f"the model server ended the stream with an error{_named(value)}")
        yield value


def _piece(event: dict[str, Any]) -> Piece:
    """One chunk. Of several choices only the first was asked for."""
    try:
        choices = event.get("choices") or [{}]
        choice = choices[0]
        text = (choice.get("delta") or {}).get("content") or ""
        finish = choice.get("finish_reason")
        scored = (choice.get("logprobs") or {}).get("content") or []
        return Piece(
            text=text.encode("utf-8", "replace").decode(),
            log_probabilities=tuple(float(each["logprob"]) for each in scored),
            finish_reason=None if finish is None else _FINISH.get(finish, FinishReason.STOP),
            usage=_usage(event.get("usage")),
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StreamFailed(
            Fault.ENGINE, f"the model server sent a chunk of another form ({type(error).__name__})"
        ) from error


def _usage(usage: dict[str, Any] | None) -> Usage | None:
    if not usage:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        prompt=int(usage.get("prompt_tokens") or 0),
        cached=int(cached),
        generated=int(usage.get("completion_tokens") or 0),
    )


async def _refusal(response: httpx2.Response) -> Exception:
    """Whose fault an answer is that is no stream."""
    status = response.status_code
    body: Any = None
    with suppress(httpx2.HTTPError, orjson.JSONDecodeError):
        body = orjson.loads(await response.aread())
    said = f"the model server answered {status}{_named(body)}"
    if status in _CONFIGURATION or 300 <= status < 400:
        return StreamFailed(Fault.CONFIGURATION, f"{said}: check engine.model and engine.openai (base_url, api_key)")
    if status in _BUSY or status >= 500:
        return _Again(said, _pause(response.headers.get("retry-after", "")))
    too_long = "context_length" in _named(body)
    reason = DeadLetterReason.PROMPT_TOO_LONG if too_long else DeadLetterReason.REFUSED_BY_ENGINE
    return StreamFailed(Fault.EVENT, said, reason)


def _named(body: Any) -> str:
    """The error's code or type, where it is one: a message may repeat what was sent."""
    error = body.get("error") if isinstance(body, dict) else None
    found = [error.get(key) for key in ("code", "type")] if isinstance(error, dict) else []
    names = [str(name) for name in found if name and _CODE.fullmatch(str(name))]
    return f" ({', '.join(names)})" if names else ""


def _pause(retry_after: str) -> float | None:
    """Seconds of a Retry-After header; a date, which servers of models do not send, counts as none."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None
