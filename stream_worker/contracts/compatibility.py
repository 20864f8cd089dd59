"""Whether a schema breaks those who rely on an older one. Pure.

Of what we write, readers may rely on every property and its type. Of events,
gateways may rely on being accepted: nothing new may be required, no value
refused that was fine. New properties and new values of ours are additions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def breaking_changes(old: Mapping[str, Schema], new: Mapping[str, Schema], accepted: frozenset[str]) -> list[str]:
    """What breaks, in words; `accepted` names the schemas of what we read."""
    found = [f"{name}: the record is gone" for name in old if name not in new]
    for name in old.keys() & new.keys():
        compare = _Comparison(old[name], new[name], is_accepted=name in accepted)
        found += [f"{name}{change}" for change in compare.node(old[name], new[name], "")]
    return sorted(found)


class _Comparison:
    def __init__(self, old: Schema, new: Schema, *, is_accepted: bool) -> None:
        self._old_definitions = old.get("$defs", {})
        self._new_definitions = new.get("$defs", {})
        self._is_accepted = is_accepted

    def node(self, old: Any, new: Any, at: str) -> Iterator[str]:
        old, new = _resolved(old, self._old_definitions), _resolved(new, self._new_definitions)
        yield from self._types(old, new, at)
        yield from self._properties(old, new, at)
        yield from self._values(old, new, at)
        if "items" in old and "items" in new:
            yield from self.node(old["items"], new["items"], f"{at}[]")
        yield from self._variants(old, new, at)

    def _types(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = self._kinds(old, self._old_definitions), self._kinds(new, self._new_definitions)
        narrowed, widened = before - after, after - before
        if self._is_accepted and narrowed and after:
            yield f"{at}: no longer takes {', '.join(sorted(narrowed))}"
        if not self._is_accepted and widened and before:
            yield f"{at}: may now be {', '.join(sorted(widened))}"

    def _kinds(self, schema: Schema, definitions: Mapping[str, Schema]) -> frozenset[str]:
        kinds = [schema["type"]] if "type" in schema else []
        for variant in _variants(schema):
            kinds += self._kinds(_resolved(variant, definitions), definitions)
        return frozenset(kinds)

    def _properties(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            here = f"{at}.{name}"
            if name not in after:
                yield f"{here}: is gone"
                continue
            yield from self.node(before[name], after[name], here)
        if self._is_accepted:
            yield from (f"{at}.{name}: is now required" for name in sorted(required_after - required_before))
        else:
            gone = sorted((required_before - required_after) & after.keys())
            yield from (f"{at}.{name}: may now be left out" for name in gone)

    def _values(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = _values(old), _values(new)
        if self._is_accepted:
            if after is not None and (before is None or before - after):
                yield f"{at}: no longer takes every value it took"
            if _is_tighter(old, new) or old.get("pattern") != new.get("pattern"):
                yield f"{at}: its limits are tighter"
        elif before is not None and after is None:
            yield f"{at}: may now have any value"
        elif "const" in old and old["const"] != new.get("const"):
            yield f"{at}: has another constant"

    def _variants(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """Definitions are compared by their names (an event type, a part), what may be null by its type."""
        before = {each["$ref"]: each for each in _variants(old) if "$ref" in each}
        after = {each["$ref"]: each for each in _variants(new) if "$ref" in each}
        for reference, variant in before.items():
            name = reference.rpartition("/")[2]
            if reference not in after:
                yield f"{at}<{name}>: is gone"
            else:
                yield from self.node(variant, after[reference], f"{at}<{name}>")
        inline, now = _by_type(old), _by_type(new)
        for kind in inline.keys() & now.keys():
            yield from self.node(inline[kind], now[kind], at)
        forms = [each for each in old.get("oneOf", ()) if "$ref" not in each]
        if self._is_accepted and any(form not in new.get("oneOf", forms) for form in forms):
            yield f"{at}: no longer takes every form it took"


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema


def _variants(schema: Schema) -> list[Schema]:
    return [*schema.get("anyOf", ()), *(each for each in schema.get("oneOf", ()) if "$ref" in each)]


def _by_type(schema: Schema) -> dict[str, Schema]:
    """The variants that are written in place, but for null, which has nothing to compare."""
    return {each["type"]: each for each in schema.get("anyOf", ()) if each.get("type", "null") != "null"}


def _values(schema: Schema) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset({repr(schema["const"])})
    return frozenset(map(repr, schema["enum"])) if "enum" in schema else None


def _is_tighter(old: Schema, new: Schema) -> bool:
    raised = any(name in new and new[name] > old.get(name, float("-inf")) for name in _LOWER_BOUNDS)
    lowered = any(name in new and new[name] < old.get(name, float("inf")) for name in _UPPER_BOUNDS)
    return raised or lowered
