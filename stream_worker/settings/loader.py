"""Settings from defaults, file, environment and flags, in this order. Nothing else reads settings.

Everything that is wrong is reported at once, each with where it stands and,
for a name that nobody knows, the nearest one. Values of secrets are in no
message and no display.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from rapidfuzz import process

from stream_worker.errors import Code
from stream_worker.settings import document, environment, tree
from stream_worker.settings.renames import RENAMED, move, renamed_in
from stream_worker.settings.root import Settings
from stream_worker.settings.source import DEFAULT, Complaint, Origin, Source, refuse
from stream_worker.settings.urls import credentials_in, without_credentials

MASK = "***"
_NOTHING: Mapping[str, object] = MappingProxyType({})
_LEAST_LIKENESS = 60


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each of their values came from."""

    settings: Settings
    sources: Mapping[tree.Path, Source]
    secrets: frozenset[tree.Path]

    def values(self) -> Iterator[tuple[str, object, Source]]:
        """Every setting with its value, secrets masked, and its source."""
        for path, value in tree.leaves(self.settings.model_dump(mode="json")):
            yield tree.dotted(path), self._shown(path, value), self.source(path)

    def source(self, path: tree.Path) -> Source:
        """Of the value itself, else of the nearest part of the tree that was given as a whole."""
        return next((self.sources[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.sources), DEFAULT)

    def masked(self) -> dict[str, Any]:
        """The whole tree as JSON values, secrets masked."""
        shown: dict[str, Any] = self._masked(self.settings.model_dump(mode="json"), ())
        return shown

    def secret_values(self) -> set[str]:
        """What is masked, in clear: for whoever looks for it in what is to be handed out."""
        found: set[str] = set()
        for path, value in tree.leaves(self.settings.model_dump()):
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found.update([text] if self._is_secret(path) else credentials_in(text))
        return found

    def _masked(self, node: Any, path: tree.Path) -> Any:
        if isinstance(node, dict):
            return {key: self._masked(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self._masked(value, (*path, index)) for index, value in enumerate(node)]
        return self._shown(path, node)

    def _shown(self, path: tree.Path, value: object) -> object:
        if self._is_secret(path):
            return MASK
        return without_credentials(value, MASK) if isinstance(value, str) else value

    def _is_secret(self, path: tree.Path) -> bool:
        return path in self.secrets or tree.is_secret(path)


def load_settings(
    path: Path | None, overrides: Mapping[str, object] = _NOTHING, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings in force. Raises Misconfigured that lists everything wrong."""
    return resolve(path, overrides, environ).settings


def resolve(
    path: Path | None, overrides: Mapping[str, object] = _NOTHING, environ: Mapping[str, str] = os.environ
) -> Resolved:
    """Like `load_settings`, with the source of every value. `overrides` are flags: dotted names to values."""
    given = _Given(document.read(path, environ) if path is not None else document.Document())
    given.follow_renames(RENAMED)
    for setting, value, source in environment.read(environ, given.complaints):
        given.put(setting, value, source)
    for name, value in overrides.items():
        given.put(tuple(name.split(".")), value, Source(Origin.FLAG, name))
    return given.validated()


def settings_hash(settings: Settings) -> str:
    """Short and stable: equal for workers that behave alike.

    Secrets, names of files and how one process is watched are left out: a bot's version stands beside it.
    """
    tree_of_all = settings.model_dump(mode="json", exclude={"instance", "observability", "slo", "traces"})
    seen = sorted(
        (tree.dotted(path), value)
        for path, value in tree.leaves(tree_of_all)
        if not tree.is_secret(path) and not tree.is_file_path(tree.annotation_at(path))
    )
    return blake2b(orjson.dumps(seen), digest_size=6).hexdigest()


@dataclass(slots=True)
class _Given:
    """The values given so far, later ones over earlier ones."""

    document: document.Document
    complaints: list[Complaint] = field(init=False)

    def __post_init__(self) -> None:
        self.complaints = self.document.complaints

    def put(self, path: tree.Path, value: object, source: Source) -> None:
        node = self.document.fields
        for depth, part in enumerate(path[:-1]):
            child = node.setdefault(str(part), {})
            if child is None:
                child = node[str(part)] = {}
            if not isinstance(child, dict):
                sentence = f"{tree.dotted(path[: depth + 1])} is a value: nothing stands below it"
                self.complaints.append(Complaint(Code.CONFIG_INVALID_VALUE, source, sentence))
                return
            node = child
        node[str(path[-1])] = value
        for below in [each for each in self.document.sources if each[: len(path)] == path]:
            del self.document.sources[below]
        self.document.secrets -= {each for each in self.document.secrets if each[: len(path)] == path}
        self.document.sources[path] = source

    def follow_renames(self, renamed: Mapping[str, str]) -> None:
        """Old names of the file mean their new ones; each is warned of."""
        for old, new in renamed_in(self.document.fields, renamed).items():
            before, after = tuple(old.split(".")), tuple(new.split("."))
            source = self.document.sources.get(before, DEFAULT)
            if not move(self.document.fields, old, new):
                sentence = f"{old} was renamed {new}, and both are given: take one out"
                self.complaints.append(Complaint(Code.CONFIG_INVALID_VALUE, source, sentence))
                continue
            warnings.warn(f"{source}: {old} was renamed {new}: run `stream-worker config migrate`", FutureWarning, 2)
            for path in [each for each in self.document.sources if each[: len(before)] == before]:
                self.document.sources[after + path[len(before) :]] = self.document.sources.pop(path)
            moved = {each for each in self.document.secrets if each[: len(before)] == before}
            self.document.secrets -= moved
            self.document.secrets |= {after + each[len(before) :] for each in moved}

    def validated(self) -> Resolved:
        if unwritable := list(self._unwritable()):
            raise refuse(self.complaints + unwritable)
        try:
            settings = Settings.model_validate(self.document.fields)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            # A value whose variable is missing has been named already.
            named = {complaint.source for complaint in self.complaints}
            self.complaints += [each for each in map(self._complaint, details) if each.source not in named]
        if self.complaints:
            raise refuse(self.complaints)
        return Resolved(settings, self.document.sources, frozenset(self.document.secrets))

    def _unwritable(self) -> Iterator[Complaint]:
        """What YAML and the environment can hold, and no JSON: nothing of ours could show or hash such settings."""
        for path, value in tree.leaves(self.document.fields):
            if any(isinstance(each, str) and not _is_text(each) for each in (*path, value)):
                sentence = "it holds half a character (a lone surrogate)"
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                sentence = "the number is too large"
            else:
                continue
            name = tree.dotted(path).encode(errors="replace").decode()
            yield Complaint(Code.CONFIG_INVALID_VALUE, self._source(path), f"{name}: {sentence}")

    def _complaint(self, detail: ErrorDetails) -> Complaint:
        path = self._known(detail["loc"])
        fields = [tuple(each.split(".")) for each in detail.get("ctx", {}).get("fields", ())]
        source = self._source_of_any([(*path, *each) for each in fields]) or self._source(path)
        name = tree.dotted(path) or "settings"
        if detail["type"] == "extra_forbidden":
            return _unknown(path, source)
        sentence = detail["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        return Complaint(Code.CONFIG_INVALID_VALUE, source, f"{name}: {sentence}")

    def _known(self, location: tuple[int | str, ...]) -> tree.Path:
        """The location without the names of union members, which pydantic adds at its end."""
        node: Any = self.document.fields
        for depth, part in enumerate(location):
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                # What is missing is named by its own key; everything deeper says nothing to a reader.
                known = tree.annotation_at(location[: depth + 1]) is not None
                return location[: depth + 1] if known else location[:depth]
        return location

    def _source_of_any(self, paths: Sequence[tree.Path]) -> Source | None:
        """Of the first of them that was given, or of what was given below it."""
        given = self.document.sources
        at = (source for path in paths for each, source in given.items() if each[: len(path)] == path)
        return next(at, None)

    def _source(self, path: tree.Path) -> Source:
        """Of the path, of what was given below it (a rule over several fields), or of what is above it."""
        sources = self.document.sources
        if path in sources:
            return sources[path]
        below = [source for each, source in sources.items() if path and each[: len(path)] == path]
        above = [sources[path[:n]] for n in range(len(path) - 1, 0, -1) if path[:n] in sources]
        return (below + above + [DEFAULT])[0]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(path: tree.Path, source: Source) -> Complaint:
    key = str(path[-1])
    known = tree.keys_at(path[:-1])
    found = process.extractOne(key, known, score_cutoff=_LEAST_LIKENESS)
    if source.origin is Origin.ENVIRONMENT:
        nearest = f": did you mean {environment.variable((*path[:-1], found[0]))}?" if found else ""
        return Complaint(Code.CONFIG_UNKNOWN_VARIABLE, source, f"there is no such setting{nearest}")
    nearest = f": did you mean `{found[0]}`?" if found else f": known are {', '.join(known)}"
    return Complaint(Code.CONFIG_UNKNOWN_KEY, source, f"unknown key `{tree.dotted(path)}`{nearest}")
