"""What is recognised without examples becomes slots of the bot: alone, for another slot, and instead of bare words."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_worker.conversation.state import EMPTY
from stream_worker.errors import Misconfigured
from stream_worker.orders import Encoded, IntentScore, SlotSpan
from stream_worker.stages.dialogue import Heard, conclude, plan
from stream_worker.stages.entities.context import context_of
from stream_worker.stages.entities.recogniser import recognise
from tests.unit.stages.dialogues import REF, load

_BOT = r"""
bot: travel
understanding: heads
time_zone: Asia/Shanghai
entities: [date, phone, {order_id: 'ORD-\d{4}'}]
slots:
  departure: {entity: date, kind: date}
intents:
  fly:
    slots: [departure, city, phone, order_id]
    reply: {template: "{{ departure }} {{ city }} {{ phone }} {{ order_id }}"}
"""
_AT = int(datetime(2026, 3, 4, 9, 0, tzinfo=UTC).timestamp() * 1000)


def _slots(folder: Path, text: str, *learnt: SlotSpan) -> dict[str, tuple[str, int | None, int | None]]:
    bot = load(folder, _BOT)
    understanding = Encoded(
        ref=REF, intents=(IntentScore("fly", 0.9),), in_scope=True, scope=0.9, slots=learnt, batch_size=1, seconds=0.0
    )
    entities = recognise(bot.entities, text, context_of(_AT, "en", region=bot.region, zone=bot.time_zone))
    heard = Heard(text=text, language="en", understanding=understanding, entities=entities, now_ms=_AT)
    decision = conclude(plan(bot, EMPTY, heard), {})
    return {slot.name: (slot.value, slot.start, slot.end) for slot in decision.slots}


def test_they_fill_the_slots_that_the_bot_has_for_them(tmp_path: Path) -> None:
    assert _slots(tmp_path, "to Oslo tomorrow, ORD-1234", SlotSpan("city", "Oslo", 3, 7, 0.9)) == {
        "city": ("Oslo", 3, 7),
        "departure": ("2026-03-05", 8, 16),
        "order_id": ("ORD-1234", 18, 26),
    }


def test_the_normal_form_takes_the_place_of_the_words_that_examples_taught(tmp_path: Path) -> None:
    assert _slots(tmp_path, "leave tomorrow", SlotSpan("departure", "tomorrow", 6, 14, 0.9)) == {
        "departure": ("2026-03-05", 6, 14)
    }


def test_words_that_nothing_recognises_stay_as_they_are(tmp_path: Path) -> None:
    span = SlotSpan("departure", "when it suits", 6, 19, 0.9)
    assert _slots(tmp_path, "leave when it suits", span) == {"departure": ("when it suits", 6, 19)}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (r"entities: [{order_id: '(a)\1'}]", "RE2"),
        ("entities: [date, {date: x}]", "two entities"),
        ("entities: [dates]", "entities"),
        ("time_zone: Europe/Atlantis", "Europe/Atlantis"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path, key: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as refused:
        load(tmp_path, f"bot: travel\n{key}\n")
    assert "bot.yaml:2" in str(refused.value)
