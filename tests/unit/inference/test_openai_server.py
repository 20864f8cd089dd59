"""Asking a model server for its models: what it says, and whose fault it is when it does not."""

import httpx2
import pytest
from pydantic import SecretStr

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.openai_server import ask_for_models
from stream_worker.settings.engine import OpenAiSettings

SETTINGS = OpenAiSettings(base_url="http://models:8000/v1", api_key=SecretStr("canary-key"))


def server(status: int, content: bytes = b"") -> httpx2.MockTransport:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("GET", "http://models:8000/v1/models")
        assert request.headers["Authorization"] == "Bearer canary-key"
        return httpx2.Response(status, content=content)

    return httpx2.MockTransport(answer)


def test_the_models_are_those_that_the_server_lists() -> None:
    listed = b'{"object": "list", "data": [{"id": "small"}, {"id": "large"}]}'
    assert ask_for_models(SETTINGS, server(200, listed)).names == ("small", "large")


@pytest.mark.parametrize(("status", "content"), [(404, b""), (405, b""), (200, b"<html>"), (200, b'{"models": []}')])
def test_a_server_that_lists_none_answers_all_the_same(status: int, content: bytes) -> None:
    assert ask_for_models(SETTINGS, server(status, content)).names is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_for_a_person_to_change_and_is_not_shown(status: int) -> None:
    with pytest.raises(Misconfigured) as caught:
        ask_for_models(SETTINGS, server(status))
    assert caught.value.code is Code.SERVER_REFUSES
    assert "canary-key" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_now_is_missing(status: int) -> None:
    with pytest.raises(Missing) as caught:
        ask_for_models(SETTINGS, server(status))
    assert caught.value.code is Code.SERVER_UNREACHABLE


def test_nobody_at_the_address_is_missing() -> None:
    with pytest.raises(Missing) as caught:
        ask_for_models(OpenAiSettings(base_url="http://127.0.0.1:9/v1"))
    assert caught.value.code is Code.SERVER_UNREACHABLE
    assert "engine.openai.base_url" in caught.value.detail
