"""On a broker that answers, too, no command shows a secret of the settings, nor what somebody wrote unless asked to."""

from pathlib import Path
from typing import Any

import orjson

from tests.commands import Command
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.settings_file import written
from tests.unit.cli.test_secrets import CANARY, run_and_look

#: Those that read what lies in the topics; the letter is the first record of its topic's only partition.
_LINES = (
    "config show",
    "conversation explain c-0",
    "conversation show c-0",
    "debug bundle",
    "dlq drop --dry-run",
    "dlq list",
    "dlq redrive --dry-run",
    "dlq show 0/0",
    "doctor",
    "lag",
    "status",
    "topics check",
)


def test_no_command_shows_a_secret_or_a_text_that_nobody_asked_for(settings_for: SettingsFor, tmp_path: Path) -> None:
    secrets: dict[str, Any] = {
        "kafka": {**QUICK, "client": {"sasl.password": f"{CANARY}-sasl", "ssl.key.password": f"{CANARY}-key"}},
        "calls": {"headers": {"a.example": {"authorization": f"Bearer {CANARY}-header"}}},
    }
    settings = settings_for(**secrets)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0", f"hello {CANARY}-text")
        cluster.events.raw("c-0", orjson.dumps({"conversation_id": "c-0", "text": f"{CANARY}-text", "sender": 7}))
        cluster.run_until(lambda: cluster.outputs.buried and cluster.outputs.reply_texts, "a reply and a dead letter")
        cluster.run_until_settled()
        cluster.stop()
    planned = []
    for number, line in enumerate(_LINES):
        for form in ("",) if line == "debug bundle" else ("", "-o json"):
            folder = tmp_path / f"{number}{form.strip('- ')}"
            folder.mkdir()
            written(settings, folder)
            planned.append(Command(arguments=[*line.split(), *form.split()], folder=folder))
    ended, leaked = run_and_look(planned, tmp_path / "outputs")
    assert not leaked
    assert all(b"Traceback" not in each.printed for each in ended)
    silent = [each.command.arguments for each in ended if not each.printed]
    assert not silent
