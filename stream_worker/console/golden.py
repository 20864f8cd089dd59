"""A conversation as a golden test, and a message as an example to learn from. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from stream_worker.contracts.analysis import Analysis, SlotEvidence

Step = Mapping[str, object]


def said(text: str) -> Step:
    return {"user": text}


def understood(analysis: Analysis) -> Step:
    expected: dict[str, object] = {"intent": analysis.intent}
    if analysis.slots:
        expected["slots"] = {
            slot.name: {"value": slot.value, "carried": True} if slot.carried else slot.value for slot in analysis.slots
        }
    return {"expect": expected}


SILENT: Step = {"expect": {"silent": True}}


def golden(conversation: str, steps: Iterable[Step]) -> str:
    """The test's YAML."""
    out = StringIO()
    YAML().dump({"conversation": conversation, "steps": [dict(step) for step in steps]}, out)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message, the intent that a person gave it, and the slots that were found in it."""

    text: str
    intent: str
    slots: tuple[SlotEvidence, ...] = ()


def examples(labelled: Iterable[Labelled]) -> str:
    """Messages as examples of their intents, in Rasa's format; slots that were found in them stay marked."""
    lines: dict[str, str] = {}
    for each in labelled:
        lines[each.intent] = lines.get(each.intent, "") + f"- {' '.join(_marked(each).split())}\n"
    nlu = [{"intent": intent, "examples": LiteralScalarString(text)} for intent, text in lines.items()]
    out = StringIO()
    YAML().dump({"version": "3.1", "nlu": nlu}, out)
    return out.getvalue()


def _marked(message: Labelled) -> str:
    marked, moved = message.text, 0
    for slot in sorted((each for each in message.slots if each.start is not None), key=lambda each: each.start or 0):
        start, end = (slot.start or 0) + moved, (slot.end or 0) + moved
        if marked[start:end] == slot.value and slot.value:
            mark = f"[{slot.value}]({slot.name})"
            marked, moved = marked[:start] + mark + marked[end:], moved + len(mark) - len(slot.value)
    return marked
