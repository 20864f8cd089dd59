"""A bot file that could not answer anybody is refused when it is read, with its place; never by a traceback."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.bot.loader import load_bot
from stream_worker.bot.phrase import Template
from stream_worker.bot.templates import _SANDBOX
from stream_worker.errors import BadEvent, Code, Misconfigured
from stream_worker.loading import prompt_limit
from stream_worker.settings import Settings
from tests.mutations import mutated


def _refusal(tmp_path: Path, raw: bytes, **settings: Any) -> str:
    file = tmp_path / "bot.yaml"
    file.write_bytes(raw)
    with pytest.raises(Misconfigured) as caught:
        load_bot(file, Settings.model_validate(settings))
    assert caught.value.code is Code.BOT_INVALID
    assert str(file) in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize(
    "raw",
    [
        "bot: Müller".encode("latin-1"),
        b"bot: a\x07b",
        b"bot: a\nsystem: " + b"[" * 5_000,
        b"bot: a\nsystem: " + b"{a: " * 5_000,
    ],
    ids=["latin-1", "control character", "lists", "mappings"],
)
def test_bytes_that_are_no_yaml_are_refused(tmp_path: Path, raw: bytes) -> None:
    _refusal(tmp_path, raw)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'bot: a\nerror_reply: "x \\ud800"', ":2:1: error_reply"),
        (b'bot: a\nfallback:\n  reply: {template: "\\udfff"}', "fallback.reply.template"),
        (b'bot: a\nrefusals: ["fine", "\\ud800"]', "refusals.1"),
        (b"bot: a\nfallback:\n  reply: {template: \"{{ '\\\\ud800' }}\"}", "fallback"),
    ],
    ids=["error_reply", "template", "refusal", "written by a template"],
)
def test_half_a_character_is_refused_at_its_place(tmp_path: Path, raw: bytes, place: str) -> None:
    assert place in _refusal(tmp_path, raw)


def test_a_template_that_writes_half_a_character_at_work_fails_its_event_alone() -> None:
    source = "{% if city %}{{ '\\ud800' }}{% endif %}"
    with pytest.raises(BadEvent):
        Template(source, _SANDBOX.from_string(source)).render({"city": "Rome"})


def test_a_reply_that_leaves_no_room_for_a_prompt_is_refused(tmp_path: Path) -> None:
    raw = b"bot: a\nsampling: {max_new_tokens: 256}"
    detail = _refusal(tmp_path, raw, engine={"max_context_tokens": 256})
    assert ":2:" in detail
    assert "engine.max_context_tokens (256)" in detail


def test_understanding_without_an_encoder_is_refused(tmp_path: Path) -> None:
    detail = _refusal(tmp_path, b"bot: a\nunderstanding: heads", understanding={"encoder": None})
    assert "understanding.encoder" in detail


def test_a_prompt_may_have_what_the_loaded_engine_has_less_the_longest_reply() -> None:
    assert prompt_limit(1_024, 128) == 896
    with pytest.raises(Misconfigured, match="1024") as caught:
        prompt_limit(1_024, 1_024)
    assert caught.value.code is Code.MODEL_UNSUITABLE


_VALID = (
    b"bot: shop\nversion: '7'\nlanguages: [en, zh]\nslots: {order: {kind: thing, shared: true}}\nintents:\n  buy:\n"
    b"    label: {en: a purchase, zh: x}\n    ask:\n      - {slot: order, prompt: 'Which?', pattern: '[A-Z]{4}'}\n"
    b"    emit: [{command: order.open, arguments: {order: '{{ order }}'}, when: '{{ order }}'}]\n"
    b"    reply: {template: 'I take {{ order }}.'}\n",
    b"bot: talk\nsystem: Be kind.\nentities: [number, date, {code: 'A-\\d{3}'}]\ntime_zone: Europe/Berlin\nregion: DE\n"
    b"intents:\n  sky:\n    call:\n      - {name: s, url: 'https://a.example/{{code}}', take: {t: '{{ result.t }}'}}\n"
    b"    reply: model\n    offer: {slot: code, values: '{{ s.t }}'}\nfallback: {rephrase: 'Once more?',"
    b" handoff_after: 3}\nhandoff: {complaints: 2, timeout_s: 60}\nsampling: {temperature: 0.5, stop: [x]}\n"
    b"turn_taking: {on_new_message: merge, merge_window_ms: 5}\ntriggers: {late: {reply: model}}\n",
)
_ALLOWED = Settings.model_validate({"calls": {"allowed_hosts": ["a.example"]}})


@pytest.mark.parametrize("raw", _VALID)
def test_the_files_that_are_damaged_below_are_whole(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_bytes(raw)
    load_bot(tmp_path / "bot.yaml", _ALLOWED)


@pytest.mark.fuzz
@given(st.binary(max_size=60) | mutated(_VALID))
def test_no_bytes_of_a_bot_file_are_a_surprise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-bot.yaml"
    file.write_bytes(raw)
    try:
        bot = load_bot(file, _ALLOWED)
    except Misconfigured as error:
        str(error).encode()
        return
    assert bot.name
