"""The console's window: nothing that is written while it opens is passed over."""

from typing import Any

import pytest

from stream_worker.errors import Missing
from stream_worker.kafka import window as window_module
from stream_worker.kafka.topics import Role
from stream_worker.kafka.window import Window
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import EventWriter


def _opens(settings: Settings) -> bool:
    """The topics are new: they have no leaders yet, perhaps."""
    window = Window(settings)
    try:
        window.open(0, 1)
    except Missing:
        return False
    finally:
        window.close()
    return True


def test_what_is_written_between_its_two_questions_is_read(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for()
    eventually(lambda: _opens(settings), 20)
    writer, asks = EventWriter(settings), window_module._offsets
    asked: list[int] = []

    def ask_and_write(*arguments: Any) -> Any:
        found = asks(*arguments)
        asked.append(len(asked))
        writer.say(f"c-{len(asked)}")
        return found

    monkeypatch.setattr(window_module, "_offsets", ask_and_write)
    window = Window(settings)
    window.open(0, 1_000)
    seen: set[str] = set()

    def read() -> bool:
        seen.update((each.record.key or b"").decode() for each in window.read(0.2) if each.role is Role.EVENTS)
        return seen == {"c-1", "c-2"}

    eventually(read, 20)
    assert asked == [0, 1]
    window.close()
