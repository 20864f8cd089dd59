"""What is told to the model that nobody said: fenced, so that no text can pass for it. Pure."""

import re
from collections.abc import Mapping

import orjson

_FENCE = re.compile(r"<(?=/?(?:data|note)>)", re.IGNORECASE)


def fenced(kind: str, text: str) -> str:
    """`text` between fences, which nothing in it can close."""
    return f"<{kind}>\n{unfenced(text)}\n</{kind}>"


def unfenced(text: str) -> str:
    """What somebody wrote, with any fence of ours in it made harmless."""
    return _FENCE.sub("‹", text)


def facts_text(results: Mapping[str, object], slots: Mapping[str, str]) -> str:
    """One line of JSON a result, the slots first; empty where there is no result."""
    if not results:
        return ""
    known = {"slots": slots} if slots else {}
    return "\n".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in {**known, **results}.items())
