"""The demo bot's examples on the real encoder: what its users type is understood."""

from pathlib import Path

import pytest

import stream_worker
from stream_worker.inference.heads import Heads, Understanding
from stream_worker.inference.models import BUILT_IN_ENCODER
from stream_worker.inference.text_encoder import load_text_encoder
from stream_worker.settings.understanding import UnderstandingSettings
from stream_worker.training.evaluate import best_intent
from stream_worker.training.read import read_examples
from stream_worker.training.train import TrainingOptions, train

_EXAMPLES = Path(stream_worker.__file__).parent / "templates" / "demo" / "nlu.yml"

_HELD_OUT = {
    "weather": [
        "Could you tell me the weather in Lisbon?",
        "what will the weather be like in Chengdu on Monday",
        "is it raining in Manchester",
        "temperature in Helsinki tomorrow?",
        "will it be sunny this weekend",
        "do I need an umbrella today",
    ],
    "inform": ["and Munich?", "what about Los Angeles?", "how about next Tuesday?", "Toronto", "and in Nairobi?"],
    "greet": ["hi there", "good morning!", "hey bot", "hello, nice to meet you"],
    "thanks": ["thanks so much", "thank you, that helped", "thx a lot"],
    "goodbye": ["bye for now", "see you soon", "ok goodbye"],
    "small_talk": ["do you know any jokes?", "who built you", "what's your name?", "how old are you?", "I'm so bored"],
    "lights_on": [
        "please switch the light on",
        "turn the attic lights on",
        "could you turn on the lamp in the nursery",
        "lights on please",
    ],
    "lights_off": ["please switch the light off", "turn off the attic lights", "switch off the lamp in the nursery"],
    "talk_to_human": [
        "I'd like to talk to a real human",
        "can I speak to someone from support?",
        "connect me with an agent please",
        "give me a human",
    ],
    "out_of_scope": ["book me a train to Madrid", "what is 12 times 7", "who wrote Hamlet", "order sushi for two"],
}


@pytest.fixture(scope="module")
def heads() -> Heads:
    encoder = load_text_encoder(BUILT_IN_ENCODER, UnderstandingSettings().max_tokens)
    return train(read_examples([_EXAMPLES]), encoder, TrainingOptions())


def _understand(heads: Heads, texts: list[str]) -> list[Understanding]:
    return heads.understand(texts)


@pytest.mark.parametrize(
    ("text", "intent", "slots"),
    [
        ("What's the weather in Beijing?", "weather", {"location": "Beijing"}),
        ("What about Shanghai?", "inform", {"location": "Shanghai"}),
        ("and tomorrow?", "inform", {"date": "tomorrow"}),
        ("talk to a human", "talk_to_human", {}),
        ("turn on the lamp in the kitchen", "lights_on", {"room": "kitchen"}),
        (
            "how is the weather in Kuala Lumpur next Friday",
            "weather",
            {"location": "Kuala Lumpur", "date": "next Friday"},
        ),
        ("北京天气怎么样？", "weather", {"location": "北京"}),
        ("上海呢？", "inform", {"location": "上海"}),
        ("打开厨房的灯", "lights_on", {"room": "厨房"}),
        ("关掉客厅的灯", "lights_off", {"room": "客厅"}),
        ("转人工", "talk_to_human", {}),
    ],
)
def test_the_demos_messages(heads: Heads, text: str, intent: str, slots: dict[str, str]) -> None:
    (understood,) = _understand(heads, [text])
    assert best_intent(understood) == intent
    assert {slot.name: slot.value for slot in understood.slots} == slots
    assert all(text[slot.start : slot.end] == slot.value for slot in understood.slots)


def test_nine_of_ten_messages_never_seen_are_understood(heads: Heads) -> None:
    texts = [(text, intent) for intent, group in _HELD_OUT.items() for text in group]
    answers = _understand(heads, [text for text, _ in texts])
    missed = [
        (text, intent, best_intent(answer))
        for (text, intent), answer in zip(texts, answers, strict=True)
        if best_intent(answer) != intent
    ]
    assert len(missed) <= len(texts) / 10, missed


def test_of_a_text_of_a_megabyte_the_beginning_is_read(heads: Heads) -> None:
    pieces = ("weather in Beijing ", "x")
    long, short = ([piece * (length // len(piece)) for piece in pieces] for length in (1_000_000, 10_000))
    assert [best_intent(each) for each in _understand(heads, long)] == [
        best_intent(each) for each in _understand(heads, short)
    ]
