"""What the README shows is taken as it stands: the settings load, the event is one."""

import re
from pathlib import Path

import pytest

from stream_worker.contracts.decode import Arrival, DecodeRules, decode
from stream_worker.contracts.event import Message
from stream_worker.errors import Code, Misconfigured
from stream_worker.record import Record
from stream_worker.settings.loader import load_settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str, start: str) -> str:
    (text,) = re.findall(f"```{language}\n({re.escape(start)}.*?)```", README, flags=re.DOTALL)
    return str(text)


def test_the_settings_load_where_their_secret_is(tmp_path: Path) -> None:
    secret, file = tmp_path / "kafka-password", tmp_path / "stream-worker.yaml"
    file.write_text(block("yaml", "# stream-worker.yaml").replace("/run/secrets/kafka-password", str(secret)))
    with pytest.raises(Misconfigured) as caught:
        load_settings(file, {}, {})
    assert caught.value.code is Code.CONFIG_UNSET_VARIABLE

    secret.write_text("of-nobody\n")
    settings = load_settings(file, {}, {"HOSTNAME": "shop-bot-3"})
    assert (settings.instance, settings.bots[0].file.name) == ("shop-bot-3", "bot.yaml")
    assert settings.kafka.client["sasl.password"] == "of-nobody"


def test_the_least_event_is_one() -> None:
    record = Record("chat.events", 0, 0, 1_790_000_000_000, b"c-42", block("json", "{").encode(), ())
    arrival = decode(record, DecodeRules(max_text_chars=1_000))
    assert isinstance(arrival, Arrival)
    assert isinstance(arrival.event, Message)
