"""A YAML file that knows where each of its keys stands, so that a complaint can say so."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from rapidfuzz import process
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stream_worker.errors import Code, Misconfigured

Place = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    raw: bytes
    root: CommentedMap

    @classmethod
    def read(cls, path: Path, begins: str = "bot: NAME") -> "Document":
        """Raises Misconfigured for what is not there or no YAML mapping."""
        try:
            raw = path.read_bytes()
            root = YAML(typ="rt").load(raw)
        except OSError as error:
            raise Misconfigured(Code.BOT_UNREADABLE, f"cannot read {path}: {error.strerror}") from error
        except MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
            raise Misconfigured(Code.BOT_INVALID, f"{where}: not YAML: {error.problem}") from error
        except (YAMLError, UnicodeDecodeError) as error:
            raise Misconfigured(Code.BOT_INVALID, f"{path}: not YAML: {error}") from error
        except ValueError as error:
            # Such as a date that no calendar has.
            raise Misconfigured(Code.BOT_INVALID, f"{path}: a value cannot be read: {error}") from error
        except RecursionError as error:
            raise Misconfigured(Code.BOT_INVALID, f"{path}: it nests too deep") from error
        except (TypeError, AttributeError, LookupError, AssertionError) as error:
            # The parser itself stumbles, over a key that is a mapping for instance.
            raise Misconfigured(Code.BOT_INVALID, f"{path}: not YAML that can be read") from error
        if not isinstance(root, CommentedMap):
            raise Misconfigured(Code.BOT_INVALID, f"{path}: it is a mapping that begins with `{begins}`")
        document = cls(path, raw, root)
        for place, text in _texts(root):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise document.complaint(place, "it holds half a character (a lone surrogate)") from error
        return document

    def validated(self, model: type[Model]) -> Model:
        """The document as a model. Raises Misconfigured with every complaint and its position."""
        try:
            return model.model_validate(self.root)
        except ValidationError as error:
            raise Misconfigured(Code.BOT_INVALID, "; ".join(self._complaints(model, error))) from error

    def complaint(self, place: Place, message: str, name: str = "", known: Sequence[str] = ()) -> Misconfigured:
        """What is wrong at a place; `name` may be a misspelling of one that is `known`."""
        where = ".".join(str(part) for part in place)
        return Misconfigured(Code.BOT_INVALID, f"{self.where(place)}: {where}: {message}{_nearest(name, known)}")

    def where(self, place: Place) -> str:
        line, column = self._position(place)
        return f"{self.path}:{line}:{column}"

    def _complaints(self, model: type[BaseModel], error: ValidationError) -> Iterator[str]:
        for item in error.errors(include_url=False):
            place = tuple(part for part in item["loc"] if isinstance(part, int) or not _is_tag(part))
            yield f"{self.where(place)}: {'.'.join(str(part) for part in place)}: {_told(model, item)}"

    def _position(self, place: Place) -> tuple[int, int]:
        """Line and column, from 1, of the deepest part of `place` that the file has."""
        line, column = 1, 1
        node: Any = self.root
        for part in place:
            try:
                line, column = (number + 1 for number in node.lc.data[part][:2])
                node = node[part]
            except (KeyError, IndexError, TypeError, AttributeError):
                break
        return line, column


def _texts(node: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text of the file, keys too, with its place."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key, place)
            yield from _texts(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _texts(value, (*place, index))


def _is_tag(part: str) -> bool:
    """Whether a part of an error's place names an alternative of a type, not a key of the file."""
    return part.endswith("File") or part.startswith(("literal[", "function-", "dict[")) or part == "[key]"


def _told(model: type[BaseModel], item: ErrorDetails) -> str:
    """What is wrong with a key; an unknown one with the nearest that there is."""
    if item["type"] != "extra_forbidden":
        return item["msg"]
    name = str(item["loc"][-1])
    return f"unknown key `{name}`{_nearest(name, list(_keys_at(model, item['loc'][:-1])))}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> Iterator[str]:
    """The keys that a section may have."""
    schema: Any = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def options(node: Any) -> Iterator[Any]:
        if "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]]
        yield node
        for each in (*node.get("anyOf", ()), *node.get("allOf", ())):
            yield from options(each)

    nodes = list(options(schema))
    for part in location:
        if isinstance(part, str) and _is_tag(part):
            nodes = [node for node in nodes if node.get("title") == part] or nodes
            continue
        found: list[Any] = []
        for node in nodes:
            child = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
            child = child or node.get("additionalProperties")
            if isinstance(child, dict):
                found += options(child)
        nodes = found
    for node in nodes:
        yield from node.get("properties", {})


def _nearest(name: str, known: Sequence[str]) -> str:
    found = process.extractOne(name, known, score_cutoff=60) if name and known else None
    if found:
        return f"; did you mean `{found[0]}`?"
    return f"; there are: {', '.join(sorted(known)[:20])}" if known else ""
