"""Rewrites what golden conversations expect to what was seen, and shows the difference. Comments stay."""

import difflib
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stream_worker.golden.play import Looked, Played
from stream_worker.golden.seen import Seen


def updated(played: Played) -> str:
    """The file's new text; the old one where nothing differs."""
    yaml = YAML(typ="rt")
    yaml.width = 120
    root = yaml.load(played.golden.document.raw)
    changed = False
    for look in played.looks:
        if look.differences:
            changed = True
            _rewrite(root["steps"][look.step]["expect"], look)
    if not changed:
        return played.golden.document.raw.decode()
    out = StringIO()
    yaml.dump(root, out)
    return out.getvalue()


def diff(path: Path, old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), f"{path} (seen)"
    )
    return "".join(lines)


def _rewrite(expect: Any, look: Looked) -> None:
    """Each key of the expectation that was wrong, by what was seen."""
    for key in dict.fromkeys(each.key.partition(".")[0] for each in look.differences):
        if key == "reply":
            expect["reply"] = {"equals": look.seen.text}
        else:
            expect[key] = _value(key, look.seen)


def _value(key: str, seen: Seen) -> Any:
    match key:
        case "intent":
            return seen.intent
        case "slots":
            return {
                name: {"value": slot["value"], "carried": True} if slot["carried"] else slot["value"]
                for name, slot in seen.slots.items()
            }
        case "decision":
            return seen.analysis.get("decision")
        case "action":
            return [{"name": name, "arguments": dict(arguments)} for name, arguments in seen.actions]
        case "no_action":
            return not seen.actions
        case "silent":
            return not seen.replies
        case "replies":
            return len(seen.replies)
        case "handoff":
            return seen.human
        case _:
            return None
