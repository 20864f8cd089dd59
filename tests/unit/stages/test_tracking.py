"""What a dialogue remembers: slots carried over, corrected, referred to, denied, and forgotten. English and Chinese."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream_worker.bot.bot import Slot
from tests.unit.stages.dialogues import Talk, load

_BOT = """
bot: travel
languages: [en, zh]
understanding: heads
fills_slots: [inform]
forget_after_s: 600
slots:
  location: {kind: place}
  city: {kind: place}
  date: {kind: date}
  room: {kind: thing}
  language: {shared: true}
  from: {kind: place, entity: airport, role: origin}
  to: {kind: place, entity: airport, role: destination}
intents:
  weather: {slots: [location, date, language]}
  hotel:
    slots: [city, date, hotel, language]
    offer: {slot: hotel, values: "{% if city %}Hilton\\nIbis\\nHyatt{% endif %}"}
  pick:
    slots: [city, hotel]
    offer:
      - {slot: hotel, values: "Ritz"}
      - {slot: date, values: "Friday"}
  flight: {slots: [from, to, date]}
  thanks: {}
  lights: {slots: [room], keeps_intent: false}
"""


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(load(tmp_path, _BOT))


def test_what_about_another_place_keeps_intent_and_date(talk: Talk) -> None:
    talk.say("Weather in Beijing tomorrow?", "weather", location="Beijing", date="tomorrow")
    talk.say("What about Shanghai?", "inform", location="Shanghai")
    assert (talk.intent, talk.slots, talk.carried) == (
        "weather",
        {"location": "Shanghai", "date": "tomorrow"},
        {"date"},
    )


def test_a_message_that_fills_slots_finds_its_intent_below_small_talk(talk: Talk) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.say("Thanks", "thanks")
    talk.say("And in Shanghai?", "unknown", scope=False, location="Shanghai")
    assert (talk.intent, talk.slots) == ("weather", {"location": "Shanghai"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("No, I meant Hangzhou", "Hangzhou"),
        ("sorry, I mean Hangzhou", "Hangzhou"),
        ("Actually Hangzhou", "Hangzhou"),
        ("不对，我是说杭州", "杭州"),
        ("抱歉，应该是杭州", "杭州"),
    ],
)
def test_a_correction_replaces_the_value_whatever_it_is_taken_for(talk: Talk, text: str, value: str) -> None:
    talk.say("Weather in Shanghai tomorrow?", "weather", location="Shanghai", date="tomorrow")
    talk.say(text, "hotel", location=value)
    assert (talk.intent, talk.slots) == ("weather", {"location": value, "date": "tomorrow"})


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("not in Beijing, in Shanghai", "Beijing", "Shanghai"),
        ("Shanghai instead of Beijing please", "Beijing", "Shanghai"),
        ("不是北京，是上海", "北京", "上海"),
        ("除了北京，上海呢", "北京", "上海"),
    ],
)
def test_a_denied_value_is_not_taken(talk: Talk, text: str, wrong: str, right: str) -> None:
    talk.say(f"Weather in {wrong}?", "weather", location=wrong)
    talk.say(text, "inform", location=(wrong, right))
    assert talk.slots == {"location": right}


@pytest.mark.parametrize(
    ("said", "text", "denied", "left"),
    [
        ("on Friday", "not Friday", "Friday", {}),
        ("Friday", "not on Friday", "on Friday", {}),
        ("Friday night", "not day", "day", {"date": "Friday night"}),
        ("下周五", "不要周五", "周五", {}),
        ("周四", "不要周五", "周五", {"date": "周四"}),
    ],
)
def test_a_value_is_denied_in_more_or_fewer_words(
    talk: Talk, said: str, text: str, denied: str, left: dict[str, str]
) -> None:
    talk.say(f"weather {said}", "weather", date=said)
    talk.say(text, "inform", date=denied)
    assert talk.slots == left


@pytest.mark.parametrize(
    ("text", "learnt", "place"),
    [
        ("那里冷吗", "里", "北京"),
        ("那里冷吗", "那里", "北京"),
        ("is it cold there", "there", "北京"),
        ("is it cold in Thereville", "Thereville", "Thereville"),
        ("大理那里冷吗", "大理", "大理"),
    ],
)
def test_a_word_for_a_value_is_no_value_though_it_was_learnt_to_be_one(
    talk: Talk, text: str, learnt: str, place: str
) -> None:
    talk.say("北京天气", "weather", location="北京")
    talk.say(text, "weather", location=learnt)
    assert talk.slots == {"location": place}


def test_a_value_that_is_denied_alone_is_dropped(talk: Talk) -> None:
    talk.say("Weather in Beijing tomorrow?", "weather", location="Beijing", date="tomorrow")
    talk.say("no, not tomorrow", "inform", date="tomorrow")
    assert (talk.intent, talk.slots) == ("weather", {"location": "Beijing"})


@pytest.mark.parametrize("text", ["Find me a hotel there", "A hotel in that city", "帮我订那里的酒店"])
def test_there_is_the_last_place_of_any_name(talk: Talk, text: str) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.say(text, "hotel")
    assert (talk.intent, talk.slots, talk.carried) == ("hotel", {"city": "Beijing"}, {"city"})


@pytest.mark.parametrize("text", ["the second one", "Number 2", "第二个", "后者"])
def test_the_second_one_is_what_was_offered_second(talk: Talk, text: str) -> None:
    talk.say("A hotel in Paris", "hotel", city="Paris")
    talk.say(text, "unknown", scope=False)
    assert (talk.intent, talk.slots) == ("hotel", {"city": "Paris", "hotel": "Ibis"})


def test_another_intent_gets_no_value_that_nobody_referred_to_but_shared_ones(talk: Talk) -> None:
    talk.say("Weather in Beijing in French", "weather", location="Beijing", language="French")
    talk.say("I need a hotel", "hotel")
    assert talk.slots == {"language": "French"}


def test_after_a_quiet_time_nothing_is_carried(talk: Talk) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.now_ms += 601_000
    talk.say("What about tomorrow?", "inform", date="tomorrow")
    assert talk.intent is None


def test_each_sender_has_a_dialogue(talk: Talk) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing", sender="ann")
    talk.say("Weather in Oslo?", "weather", location="Oslo", sender="bob")
    talk.say("And tomorrow?", "inform", date="tomorrow", sender="ann")
    assert talk.slots == {"location": "Beijing", "date": "tomorrow"}


def test_an_intent_that_is_taken_up_again_has_its_values(talk: Talk) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.say("Light in the kitchen", "lights", room="kitchen")
    talk.say("Will it rain?", "weather")
    assert (talk.slots, talk.carried) == ({"location": "Beijing"}, {"location"})


@pytest.mark.parametrize("text", ["Is there a hotel with a pool?", "There are two of us, a hotel please"])
def test_there_of_there_is_refers_to_nothing(talk: Talk, text: str) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.say(text, "hotel")
    assert talk.slots == {}


def test_there_that_could_be_two_slots_is_left_to_a_question(talk: Talk) -> None:
    talk.say("Weather in Beijing?", "weather", location="Beijing")
    talk.say("A flight there", "flight")
    assert talk.slots == {}


@pytest.mark.parametrize("text", ["A hotel for that day", "a hotel on the same date", "那天的酒店"])
def test_that_day_is_the_last_date_and_no_place(talk: Talk, text: str) -> None:
    talk.say("Weather in Beijing tomorrow?", "weather", location="Beijing", date="tomorrow")
    talk.say(text, "hotel")
    assert talk.slots == {"date": "tomorrow"}


@pytest.mark.parametrize("text", ["in the same language", "用同样的language"])
def test_the_same_by_the_name_of_a_slot_is_its_last_value(talk: Talk, text: str) -> None:
    talk.bot = replace(talk.bot, slots={**talk.bot.slots, "language": Slot()})
    talk.say("Weather in French", "weather", language="French")
    talk.say("A hotel", "hotel")
    assert talk.slots == {}
    talk.say(text, "hotel")
    assert talk.slots == {"language": "French"}


@pytest.mark.parametrize("text", ["Yes, please", "That sounds good", "Great!", "好的", "就这个吧"])
def test_agreeing_takes_all_that_was_offered_alone(talk: Talk, text: str) -> None:
    talk.say("Pick one in Paris", "pick", city="Paris")
    talk.say(text, "unknown", scope=False)
    assert (talk.intent, talk.slots, talk.carried) == ("pick", {"city": "Paris", "hotel": "Ritz"}, {"city", "hotel"})


@pytest.mark.parametrize(
    "text",
    [
        "Yes, but another one",
        "No, thanks",
        "Is it expensive?",
        "not the Ritz",
        "不要",
        "换一个吧",
        "好的，不过我要别的",
    ],
)
def test_what_does_not_agree_takes_nothing(talk: Talk, text: str) -> None:
    talk.say("Pick one in Paris", "pick", city="Paris")
    talk.say(text, "pick")
    assert talk.slots == {"city": "Paris"}


def test_a_mere_yes_takes_only_what_was_offered_right_before(talk: Talk) -> None:
    talk.say("Pick one in Paris", "pick", city="Paris")
    talk.say("Weather in Oslo?", "weather", location="Oslo")
    talk.say("yes", "pick")
    assert talk.slots == {"city": "Paris"}
    talk.say("Weather in Oslo?", "weather", location="Oslo")
    talk.say("I'll take it", "pick")
    assert talk.slots == {"city": "Paris", "hotel": "Ritz"}


def test_several_that_were_offered_need_a_name_or_a_place(talk: Talk) -> None:
    talk.say("A hotel in Paris", "hotel", city="Paris")
    talk.say("yes", "hotel")
    assert talk.slots == {"city": "Paris"}
    talk.say("let's go with the Hyatt", "unknown", scope=False)
    assert talk.slots == {"city": "Paris", "hotel": "Hyatt"}


def test_what_the_ruling_intent_has_no_slot_for_is_kept_for_the_other(talk: Talk) -> None:
    talk.say("A hotel in Paris", "hotel", city="Paris")
    talk.say("Will it rain in Oslo? And the hotel, make that Ibis", "weather", location="Oslo", hotel="Ibis")
    assert (talk.intent, talk.slots) == ("weather", {"location": "Oslo"})
    talk.say("my hotel again", "hotel")
    assert talk.slots == {"city": "Paris", "hotel": "Ibis"}


def test_a_second_intent_of_a_message_is_remembered_with_its_slots(talk: Talk) -> None:
    talk.say("Rain in Oslo, and a hotel in Paris?", "weather", second=("hotel", 0.8), location="Oslo", city="Paris")
    assert (talk.intent, talk.slots) == ("weather", {"location": "Oslo"})
    talk.say("What about Rome?", "inform", city="Rome")
    assert (talk.intent, talk.slots) == ("hotel", {"city": "Rome"})


def test_roles_tell_slots_of_one_name_apart(talk: Talk) -> None:
    talk.say("from Oslo to Rome", "flight", airport=("Oslo", "Rome"), roles={"Oslo": "origin", "Rome": "destination"})
    assert talk.slots == {"from": "Oslo", "to": "Rome"}
