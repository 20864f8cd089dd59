"""Paths through the settings tree: what stands at a path, and what it is called. Pure.

A path is a tuple of keys and list indices. Every other file here asks this
one what the tree looks like, so the tree is declared once, by its sections.
"""

import re
import types
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr

from stream_worker.settings.base import Section
from stream_worker.settings.root import Settings

Path = tuple[str | int, ...]

#: Words that make a librdkafka setting a secret, or a field that is passed through to an engine: there whole words,
#: as in `hf_token`, not `max_tokens`. Our own are SecretStr.
_SECRET_WORDS = ("password", "secret", "key", "token", "jaas", "credential")
_PASSED_THROUGH = {("kafka", "client"), ("kafka", "consumer"), ("kafka", "producer")}
_TO_ENGINES = {("engine", "openai", "extra_body"), ("engine", "vllm", "extra_arguments")}
_NO_WORD = re.compile(r"[^a-z]+")


def dotted(path: Path) -> str:
    """`bots[0].file`, as an operator reads it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def annotation_at(path: Path) -> Any:
    """The type that stands at `path`, without `Annotated` and `None`; None where the tree has no such place."""
    annotation: Any = Settings
    for part in path:
        annotation = _step(annotation, part)
        if annotation is None:
            return None
    return annotation


def keys_at(path: Path) -> tuple[str, ...]:
    """The keys that a section may hold; none where the path is no section."""
    section = annotation_at(path)
    return tuple(section.model_fields) if is_section(section) else ()


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def is_structured(annotation: Any) -> bool:
    """Whether a value of this type is written as YAML, not as plain text."""
    return is_section(annotation) or get_origin(annotation) in (dict, tuple)


def is_file_path(annotation: Any) -> bool:
    return annotation is FilePath


def is_optional(path: Path) -> bool:
    """Whether null may stand at `path`."""
    section = annotation_at(path[:-1])
    field = section.model_fields.get(path[-1]) if is_section(section) else None
    return field is not None and type(None) in get_args(field.annotation)


def is_secret(path: Path) -> bool:
    """Whether a value must never be shown: a field that says so, a call's header, or by its name what is passed on."""
    if tuple(path[:2]) == ("calls", "headers") or annotation_at(path) is SecretStr:
        return True
    if tuple(path[:3]) in _TO_ENGINES:
        return any(not {*_NO_WORD.split(str(part).lower())}.isdisjoint(_SECRET_WORDS) for part in path[3:])
    if tuple(path[:2]) not in _PASSED_THROUGH or len(path) < 3:
        return False
    return any(word in str(path[2]).lower() for word in _SECRET_WORDS)


def leaves(node: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value of a tree of plain dicts and lists; an empty mapping or list is a value itself."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list | tuple) and node:
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def _step(annotation: Any, part: str | int) -> Any:
    if is_section(annotation):
        field = annotation.model_fields.get(part)
        return None if field is None else _bare(field.annotation)
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and isinstance(part, int):
        return _bare(arguments[0])
    if is_mapping(annotation) and isinstance(part, str):
        return _bare(arguments[1])
    return None


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
