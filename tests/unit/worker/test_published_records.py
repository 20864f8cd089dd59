"""Everything a worker publishes is valid by the schema of its topic."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from stream_worker.bot.loader import load_bot
from stream_worker.contracts.json_schema import DEAD_LETTER_HEADERS, schemas
from stream_worker.settings import Settings
from tests.unit.worker.rig import Rig, settings

_BOT = """
bot: everything
fallback:
  emit: [{command: note, arguments: {text: hello}}]
"""


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A worker that has replied, previewed, emitted commands, expired, stayed silent, and written dead letters."""
    file = tmp_path / "bot.yaml"
    file.write_text(_BOT)
    rig = Rig(settings(outputs={"delta_interval_ms": 0}), bot=load_bot(file, Settings()), seconds=lambda _: 0.05)
    rig.start()
    rig.send("c-1", message_id="m-1", text="hello", metadata={"room": [1, {"a": None}]}, channel="web")
    rig.send("c-1", message_id="m-2", text="", expires_at=1)
    rig.send("c-2", text="no id 😀 \u0000 مرحبا")
    rig.send("c-3", message_id="h-1", type="handoff")
    rig.send("c-4", message_id="x-1", type="nonsense")
    rig.send("c-5", key=b"another", message_id="m-5", text="wrong key")
    rig.broker.append(rig.settings.topics.events, None, b"\xff", ())
    rig.run(3.0)
    return rig


@pytest.mark.parametrize(
    ("schema", "least"), [("reply", 2), ("delta", 4), ("analysis", 2), ("action", 2), ("metric", 7)]
)
def test_values_are_valid(rig: Rig, schema: str, least: int) -> None:
    topics = rig.settings.topics
    topic = {
        "reply": topics.replies,
        "delta": topics.deltas,
        "analysis": topics.analysis,
        "action": topics.actions,
        "metric": topics.metrics,
    }[schema]
    validator = Draft202012Validator(schemas()[schema])
    published = rig.published(topic)
    assert len(published) >= least
    for value in published:
        validator.validate(value)
        assert value["versions"].keys() == {"worker", "settings", "bot", "bot_version", "model"}
    document: Any = YAML(typ="safe", pure=True).load(Path("schemas/asyncapi.yaml").read_text("utf-8"))
    headers = Draft202012Validator(document["components"]["messages"][schema]["headers"])
    for record in rig.broker.read_committed(topic):
        headers.validate({name: (value or b"").decode() for name, value in record.headers})


def test_dead_letters_are_valid_and_hold_the_original(rig: Rig) -> None:
    validator = Draft202012Validator(schemas()[DEAD_LETTER_HEADERS])
    letters = rig.broker.read_committed(rig.settings.topics.dead_letters)
    found = {}
    for letter in letters:
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        validator.validate(headers)
        found[headers["sw_reason"]] = letter.value
    assert found.keys() == {"unknown_type", "wrong_key", "no_key"}
    assert found["no_key"] == b"\xff"
    assert orjson.loads(found["wrong_key"] or b"")["text"] == "wrong key"
