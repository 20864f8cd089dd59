"""Forms, the fallback ladder and hand-over: questions that come back, and a human at the end."""

from pathlib import Path

import pytest

from tests.unit.stages.dialogues import Talk, load

_BOT = """
bot: bank
languages: [en, zh]
understanding: heads
fills_slots: [inform]
slots:
  amount: {kind: number}
  confirmed: {kind: yes_no}
  location: {kind: place}
intents:
  transfer:
    label: {en: a transfer, zh: 转账}
    ask:
      - {slot: recipient, prompt: {en: Who gets it?, zh: 转给谁？}, from_text: true, pattern: "[^0-9]+"}
      - slot: amount
        prompt: {en: How much?, zh: 多少钱？}
        invalid: "Between 1 and 1000, please."
        min: 1
        max: 1000
        tries: 2
      - {slot: account, prompt: From which account?, choices: [savings, current]}
      - {slot: confirmed, prompt: "{{ amount }} to {{ recipient }}, right?"}
    emit:
      - command: transfer
        when: "{{ 'yes' if confirmed == 'yes' }}"
        arguments: {to: "{{ recipient }}", amount: "{{ amount }}", from: "{{ account }}"}
    reply:
      template:
        en: "{{ 'Done.' if confirmed == 'yes' else 'Nothing was done.' }}"
        zh: "{{ '好了。' if confirmed == 'yes' else '没有转。' }}"
    keeps_intent: false
  balance: {label: {en: your balance, zh: 余额}, reply: {template: You have 5.}}
  weather: {slots: [location], reply: {template: "Sun in {{ location }}."}}
fallback:
  clarify: {en: "Do you mean {{ first }} or {{ second }}?", zh: "您是指{{ first }}还是{{ second }}？"}
  rephrase: {en: "Please say it in other words.", zh: 请换个说法。}
  handoff_after: 3
handoff: {text: {en: A colleague takes over., zh: 同事会接手。}, complaints: 2}
"""


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(load(tmp_path, _BOT))


def _confirmed(talk: Talk) -> str:
    talk.say("Send money", "transfer")
    talk.say("Ann", "balance", score=0.3)
    talk.say("250 please", "inform")
    return talk.say("the second one", "unknown", scope=False)


def test_a_form_asks_for_what_is_missing_in_its_order(talk: Talk) -> None:
    assert talk.say("Send money", "transfer") == "Who gets it?"
    assert talk.say("Ann", "balance", score=0.3) == "How much?"
    assert talk.say("250 please", "inform") == "From which account?"
    assert talk.say("the second one", "unknown", scope=False) == "250 to Ann, right?"
    assert talk.say("yes", "unknown", scope=False) == "Done."
    assert talk.commands == [("transfer", {"to": "Ann", "amount": "250", "from": "current"})]
    assert talk.state.dialogue("u-1").frames == ()


def test_a_form_in_chinese(talk: Talk) -> None:
    talk.language = "zh"
    assert talk.say("我要转账", "transfer") == "转给谁？"
    assert talk.say("小王", "unknown", scope=False) == "多少钱？"
    talk.say("300块", "inform")
    talk.say("第一个", "unknown", scope=False)
    assert talk.say("好的", "unknown", scope=False) == "好了。"
    assert talk.commands == [("transfer", {"to": "小王", "amount": "300", "from": "savings"})]


def test_what_is_given_at_once_is_not_asked_for(talk: Talk) -> None:
    reply = talk.say("Send 20 to Bob", "transfer", amount="20", recipient="Bob")
    assert reply == "From which account?"


def test_no_is_an_answer_and_emits_nothing(talk: Talk) -> None:
    assert _confirmed(talk) == "250 to Ann, right?"
    assert talk.say("no", "unknown", scope=False) == "Nothing was done."
    assert talk.commands == []


def test_no_with_another_value_corrects_it_and_is_asked_again(talk: Talk) -> None:
    assert _confirmed(talk) == "250 to Ann, right?"
    assert talk.say("no, 300", "inform", amount="300") == "300 to Ann, right?"
    assert talk.say("yes", "unknown", scope=False) == "Done."
    assert talk.commands == [("transfer", {"to": "Ann", "amount": "300", "from": "current"})]


def test_a_useless_answer_is_asked_again_and_too_many_get_a_human(talk: Talk) -> None:
    talk.say("Send money to Ann", "transfer", recipient="Ann")
    assert talk.say("5000", "unknown", scope=False) == "Between 1 and 1000, please."
    assert talk.say("9999", "unknown", scope=False) == "A colleague takes over."
    assert talk.is_human


def test_an_interruption_is_answered_and_the_question_comes_back(talk: Talk) -> None:
    talk.say("Send money to Ann", "transfer", recipient="Ann")
    assert talk.say("What is my balance?", "balance") == "You have 5.\nHow much?"
    assert talk.say("And the weather in Oslo?", "weather", location="Oslo") == "Sun in Oslo.\nHow much?"
    assert talk.say("What about Rome?", "inform", location="Rome") == "Sun in Rome.\nHow much?"
    assert talk.say("3", "inform") == "From which account?"
    assert talk.slots["recipient"] == "Ann"


@pytest.mark.parametrize("text", ["never mind", "cancel", "算了"])
def test_a_form_can_be_broken_off(talk: Talk, text: str) -> None:
    talk.say("Send money", "transfer")
    assert talk.say(text, "unknown", scope=False) == "All right, never mind."
    assert talk.say("What is my balance?", "balance") == "You have 5."


def test_a_correction_of_an_earlier_answer_does_not_lose_the_question(talk: Talk) -> None:
    talk.say("Send 20 to Bob", "transfer", amount="20", recipient="Bob")
    assert talk.say("no, I meant Ann", "inform", recipient="Ann") == "From which account?"
    assert talk.slots["recipient"] == "Ann"


def test_the_ladder_clarifies_then_asks_for_other_words_then_gets_a_human(talk: Talk) -> None:
    close = {"scope": False, "score": 0.4, "second": ("balance", 0.35)}
    assert talk.say("money thing", "transfer", **close) == "Do you mean a transfer or your balance?"  # type: ignore[arg-type]
    assert talk.say("hmm hmm", "unknown", scope=False) == "Please say it in other words."
    assert talk.say("blah", "unknown", scope=False) == "A colleague takes over."
    assert talk.is_human


@pytest.mark.parametrize("text", ["the second one", "my balance", "your balance please", "第二个"])
def test_the_choice_between_two_is_understood(talk: Talk, text: str) -> None:
    talk.say("money thing", "transfer", scope=False, score=0.4, second=("balance", 0.35))
    assert talk.say(text, "unknown", scope=False) == "You have 5."


def test_what_was_said_before_the_choice_counts(talk: Talk) -> None:
    talk.say("to Ann", "balance", scope=False, score=0.4, second=("transfer", 0.35), recipient="Ann")
    assert talk.say("a transfer", "unknown", scope=False) == "How much?"


def test_who_is_understood_again_starts_the_ladder_anew(talk: Talk) -> None:
    for _ in range(3):
        talk.say("blah", "unknown", scope=False)
        talk.say("What is my balance?", "balance")
    assert not talk.is_human


def test_a_bad_mood_twice_gets_a_human(talk: Talk) -> None:
    bad = ("negative", 0.95)
    assert talk.say("This is awful! My balance!", "balance", mood=bad) == "You have 5."
    assert talk.say("Useless!", "balance", mood=bad) == "A colleague takes over."
    assert talk.is_human


def test_a_good_word_between_two_bad_moods_counts(talk: Talk) -> None:
    for mood in (("negative", 0.95), ("neutral", 1.0), ("negative", 0.95)):
        talk.say("My balance", "balance", mood=mood)
    assert not talk.is_human
