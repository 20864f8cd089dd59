"""A conversation as a golden test: what was said, and what is expected to be understood. Pure."""

from collections.abc import Iterable, Mapping
from io import StringIO

from ruamel.yaml import YAML

from stream_worker.contracts.analysis import Analysis

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
