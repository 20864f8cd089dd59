"""Settings that have a new name: the old one works for two minor versions, with a warning. Pure.

`config migrate` writes a file anew; what is here is what it knows.
"""

from collections.abc import Mapping
from typing import Any

#: Old dotted names to new ones. An entry stays for two minor versions.
RENAMED: Mapping[str, str] = {}


def renamed_in(fields: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, str]:
    """The old names that a file uses, each with its new one."""
    return {old: new for old, new in renamed.items() if _has(fields, old.split("."))}


def move(fields: Any, old: str, new: str) -> bool:
    """Moves a value to its new place, whose sections are made; False, and nothing moved, where that is taken."""
    if _has(fields, new.split(".")):
        return False
    *above, key = old.split(".")
    parent = fields
    for part in above:
        parent = parent[part]
    value = parent.pop(key)
    *sections, name = new.split(".")
    target = fields
    for part in sections:
        target = target.setdefault(part, type(fields)())
    target[name] = value
    return True


def _has(fields: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(fields, Mapping) or part not in fields:
            return False
        fields = fields[part]
    return True
