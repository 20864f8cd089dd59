"""What a dialogue remembers: slots carried over, corrected, referred to, denied, and forgotten. English and Chinese."""

from pathlib import Path

import pytest

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
  date: {kind: time}
  room: {kind: thing}
  language: {shared: true}
intents:
  weather: {slots: [location, date, language]}
  hotel:
    slots: [city, date, hotel, language]
    offer: {slot: hotel, values: "{% if city %}Hilton\\nIbis\\nHyatt{% endif %}"}
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
