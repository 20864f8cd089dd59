"""Asks a model server which models it has. Generates nothing, and writes nothing."""

from dataclasses import dataclass

import httpx2

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.settings.engine import OpenAiSettings

_ANSWER_S = 10.0
_NO_LIST = frozenset({404, 405, 501})
_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class ServedModels:
    """`names` is None where the server answers, but does not tell which models it has."""

    names: tuple[str, ...] | None


def ask_for_models(settings: OpenAiSettings, transport: httpx2.BaseTransport | None = None) -> ServedModels:
    """Raises Missing when the server does not answer, or cannot now; Misconfigured when it refuses the key."""
    url = f"{settings.base_url.rstrip('/')}/models"
    headers = {} if settings.api_key is None else {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
    try:
        with httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(_ANSWER_S, connect=settings.connect_timeout_ms / 1000),
            proxy=settings.proxy,
            trust_env=False,
            transport=transport,
        ) as client:
            response = client.get(url)
    except httpx2.TransportError as error:
        raise Missing(
            Code.SERVER_UNREACHABLE,
            f"no model server answers at {settings.address} ({type(error).__name__}): check engine.openai.base_url, "
            "and that a server runs there",
        ) from error
    status = response.status_code
    if status in _REFUSED:
        raise Misconfigured(
            Code.SERVER_REFUSES, f"the model server at {settings.address} says {status}: check engine.openai.api_key"
        )
    if status in _NO_LIST:
        return ServedModels(None)
    if status != httpx2.codes.OK:
        raise Missing(
            Code.SERVER_UNREACHABLE,
            f"the model server at {settings.address} says {status}: look at its log, and try again",
        )
    return ServedModels(_names(response))


def _names(response: httpx2.Response) -> tuple[str, ...] | None:
    try:
        return tuple(str(model["id"]) for model in response.json()["data"])
    except (ValueError, KeyError, TypeError):
        return None
