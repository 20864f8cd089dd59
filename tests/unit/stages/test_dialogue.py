"""Dialogue: intents lead to rules, slots are carried over, and the bot file is refused with a position."""

from pathlib import Path

import pytest

from stream_worker.bot.bot import Bot
from stream_worker.bot.loader import load_bot
from stream_worker.conversation.state import EMPTY, Bounds, ConversationState, HeldBy, Holder, apply
from stream_worker.errors import Misconfigured
from stream_worker.orders import Encoded, IntentScore, SlotSpan, TurnRef
from stream_worker.settings import Settings
from stream_worker.stages.check import Passed, Replaced, check
from stream_worker.stages.dialogue import Decision, Heard, ModelAnswer, TextAnswer, decide
from stream_worker.tokens import Sampling

_BOT = """
bot: weather
system: Be brief.
understanding: heads
fills_slots: [inform]
refusals: [my password]
refusal_reply: No.
intents:
  weather:
    slots: [location, date]
  lights_on:
    slots: [room]
    keeps_intent: false
    emit:
      - command: light.switch
        arguments: {room: "{{ room or 'everywhere' }}", state: "on"}
    reply: {template: "The lamp is on{% if room %} in the {{ room }}{% endif %}."}
  human:
    handoff: true
    reply: {template: One moment.}
"""


@pytest.fixture
def bot(tmp_path: Path) -> Bot:
    return _load(tmp_path, _BOT)


def _load(folder: Path, text: str) -> Bot:
    file = folder / "bot.yaml"
    file.write_text(text)
    return load_bot(file, Settings())


def _understood(intent: str, *slots: tuple[str, str], in_scope: bool = True) -> Encoded:
    return Encoded(
        ref=TurnRef(0, 1, "t", 1),
        intents=(IntentScore(intent, 0.9),),
        in_scope=in_scope,
        scope=0.9,
        slots=tuple(SlotSpan(name, value, 0, len(value), 0.9) for name, value in slots),
        batch_size=1,
        seconds=0.0,
    )


def _heard(understanding: Encoded | None, text: str = "") -> Heard:
    return Heard(text=text, language="en", understanding=understanding, sender_id="u-1", now_ms=1_000)


def _after(state: ConversationState, decision: Decision) -> ConversationState:
    return apply(state, decision.changes, Bounds(max_messages=10, dedup_window=10))


def test_a_message_that_only_fills_slots_keeps_the_intent_and_carries_the_rest(bot: Bot) -> None:
    first = decide(bot, EMPTY, _heard(_understood("weather", ("location", "Beijing"), ("date", "tomorrow"))))
    assert isinstance(first.answer, ModelAnswer)
    second = decide(bot, _after(EMPTY, first), _heard(_understood("inform", ("location", "Shanghai"))))
    assert second.intent == "weather"
    assert {slot.name: (slot.value, slot.carried) for slot in second.slots} == {
        "location": ("Shanghai", False),
        "date": ("tomorrow", True),
    }


def test_filling_slots_without_an_active_intent_falls_back(bot: Bot) -> None:
    decision = decide(bot, EMPTY, _heard(_understood("inform", ("location", "Shanghai"))))
    assert decision.intent is None
    assert decision.slots == ()


def test_another_intent_does_not_inherit_slots(bot: Bot) -> None:
    state = _after(EMPTY, decide(bot, EMPTY, _heard(_understood("weather", ("location", "Beijing")))))
    decision = decide(bot, state, _heard(_understood("lights_on")))
    assert decision.slots == ()
    assert decision.answer == TextAnswer("The lamp is on.")


def test_a_command_is_emitted_with_its_arguments(bot: Bot) -> None:
    decision = decide(bot, EMPTY, _heard(_understood("lights_on", ("room", "kitchen"))))
    assert decision.answer == TextAnswer("The lamp is on in the kitchen.")
    (command,) = decision.commands
    assert (command.name, command.arguments) == ("light.switch", {"room": "kitchen", "state": "on"})
    assert _after(EMPTY, decision).dialogue("u-1").active is None, (
        "keeps_intent: false leaves the dialogue where it was"
    )


def test_handing_over_changes_who_has_the_conversation(bot: Bot) -> None:
    decision = decide(bot, EMPTY, _heard(_understood("human")))
    assert HeldBy(Holder.HUMAN, 1_000) in decision.changes
    assert _after(EMPTY, decision).holder is Holder.HUMAN


def test_what_is_out_of_scope_or_unknown_falls_back(bot: Bot) -> None:
    for understood in (_understood("weather", in_scope=False), _understood("unheard_of"), None):
        decision = decide(bot, EMPTY, _heard(understood))
        assert decision.intent is None
        assert isinstance(decision.answer, ModelAnswer)


def test_a_template_cannot_reach_beyond_its_slots(tmp_path: Path) -> None:
    bot = _load(tmp_path, "bot: b\nfallback: {reply: {template: \"{{ ''.__class__ }}\"}}\n")
    decision = decide(bot, EMPTY, _heard(None))
    assert isinstance(decision.answer, TextAnswer)
    assert "class" not in decision.answer.text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bot: b\nintentz: {}\n", r"bot\.yaml:2:1: intentz: unknown key `intentz`; did you mean `intents`"),
        ("bot: b\nintents:\n  x:\n    slots: 5\n", r"bot\.yaml:4:5: intents\.x\.slots"),
        (
            "bot: b\nfallback: {reply: {template: '{{ x'}}\n",
            r"bot\.yaml:2:20: fallback\.reply\.template: the template is invalid",
        ),
        ("bot: b\nfallback: {reply: {template: '{{ room.upper() }}'}}\n", "fallback: with no slot filled: .*'room'"),
        (
            "bot: b\nintents: {x: {slots: [n], emit: [{command: c, arguments: {a: '{{ n and 1 / 0 }}'}}]}}\n",
            "intents.x: with every slot filled: .*division by zero",
        ),
        ("bot: [\n", r"bot\.yaml:2:1: not YAML"),
        ("- a\n", "a mapping that begins with `bot: NAME`"),
    ],
)
def test_a_wrong_bot_file_is_refused_with_its_position(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        _load(tmp_path, text)


def test_a_missing_bot_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nothing\.yaml"):
        load_bot(tmp_path / "nothing.yaml", Settings())


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    first = _load(tmp_path, "bot: b\n").version
    assert _load(tmp_path, "bot: b\n").version == first
    assert _load(tmp_path, "bot: b\nsystem: x\n").version != first


def test_a_reply_with_a_refused_text_is_replaced(bot: Bot) -> None:
    assert check(bot, "Your order is on its way.") == Passed("Your order is on its way.")
    assert check(bot, "It is My Password!") == Replaced("No.", "refusals[1]")


def test_a_reply_in_json_names_a_schema_beside_the_bot_file(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"type": "object"}')
    bot = _load(tmp_path, "bot: orders\nfallback: {reply: {json_schema: order.json}}\n")
    answer = decide(bot, EMPTY, _heard(None)).answer
    assert isinstance(answer, ModelAnswer)
    assert answer.json_schema == '{"type":"object"}'


@pytest.mark.parametrize("schema", [None, "[1]", "{"])
def test_a_schema_that_is_none_is_refused_with_its_file(tmp_path: Path, schema: str | None) -> None:
    if schema is not None:
        (tmp_path / "order.json").write_text(schema)
    with pytest.raises(Misconfigured, match=r"order\.json"):
        _load(tmp_path, "bot: orders\nfallback: {reply: {json_schema: order.json}}\n")


def test_sampling_of_the_bot_file_reaches_the_engine(tmp_path: Path) -> None:
    bot = _load(tmp_path, "bot: b\nsampling: {logit_bias: {7: -100, 3: 2}, stop: [END], log_probabilities: true}\n")
    assert bot.sampling == Sampling(logit_bias=((3, 2.0), (7, -100.0)), stop=("END",), log_probabilities=True)
