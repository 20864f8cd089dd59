"""The settings file: YAML is parsed first, variables are put in after.

So a commented line needs no variable, and a variable's value cannot change
the structure of the file. Every node's position is kept for messages.

    ${NAME}   ${NAME:-default}   ${file:/run/secrets/name}   $${ is a plain ${
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import tree
from stream_worker.settings.source import Complaint, Source, in_file

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<file>file:)?(?P<name>[^}:]*)(?P<has_default>:-(?P<default>[^}]*))?\}")
_QUOTED = re.compile(r"""(?P<token>'(?:<[a-z ]+>|.)')|(?P<quote>['"]).*(?P=quote)""", re.DOTALL)
_NAMES_A_FOLDER = {("engine", "model"), ("understanding", "encoder")}


@dataclass(slots=True)
class Document:
    """A parsed file: plain dicts and lists, where each node stands, and which values are secret."""

    fields: dict[str, Any] = field(default_factory=dict)
    sources: dict[tree.Path, Source] = field(default_factory=dict)
    secrets: set[tree.Path] = field(default_factory=set)
    complaints: list[Complaint] = field(default_factory=list)


def read(file: Path, environ: Mapping[str, str]) -> Document:
    """The document of `file`. Raises Misconfigured when it cannot be read at all."""
    document = Document()
    document.fields = _Reader(file, environ, document).plain(parse(file, YAML(typ="rt")), ())
    return document


def parse(file: Path, yaml: YAML) -> CommentedMap:
    """The file as it stands; `yaml` is a round-trip one. Raises Misconfigured, which quotes nothing of the file.

    The parser's own error shows the line, and with it perhaps a password: it is not the cause of ours, either.
    """
    try:
        parsed = yaml.load(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        problem = f"cannot read {file}: {error.strerror}"
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        problem = f"{where}: not YAML: {_unquoted(error)}"
    except (YAMLError, ValueError):
        problem = f"{file}: not YAML in UTF-8"
    except RecursionError:
        problem = f"{file}: it nests too deep"
    except (TypeError, AttributeError, LookupError, AssertionError):
        # The parser itself stumbles, over a key that is a mapping for instance.
        problem = f"{file}: not YAML that can be read"
    else:
        if parsed is None:
            return CommentedMap()
        if isinstance(parsed, CommentedMap):
            return parsed
        problem = f"{file}:1:1: settings are a mapping, as in `application_id: shop`"
    raise Misconfigured(Code.CONFIG_UNREADABLE, problem)


def _unquoted(error: MarkedYAMLError) -> str:
    """What is wrong, without what the parser quotes of the file; its tokens and single characters stay."""
    if isinstance(error, DuplicateKeyError):
        return "this key stands twice in its section"
    return _QUOTED.sub(lambda match: match["token"] or "…", str(error.problem))


@dataclass(slots=True)
class _Reader:
    file: Path
    environ: Mapping[str, str]
    document: Document

    def plain(self, node: Any, path: tree.Path) -> Any:
        """The node as plain values, its variables put in."""
        match node:
            case CommentedMap():
                return {key: self._child(node, key, node.lc.key, path) for key in node}
            case CommentedSeq():
                return [self._child(node, index, node.lc.item, path) for index in range(len(node))]
            case str():
                return self._anchored(self._expanded(str(node), path), path)
            case bool() | None:
                return node
            case int():
                return int(node)
            case float():
                return float(node)
            case _:
                return str(node)

    def _child(self, parent: Any, key: Any, position: Any, path: tree.Path) -> Any:
        here = (*path, key)
        try:
            line, column = position(key)
        except (KeyError, IndexError, TypeError):
            # A key that came through a YAML merge has no position of its own: its parent's says enough.
            self.document.sources[here] = self.document.sources.get(path, in_file(self.file, 1, 1))
        else:
            self.document.sources[here] = in_file(self.file, line + 1, column + 1)
        return self.plain(parent[key], here)

    def _expanded(self, text: str, path: tree.Path) -> str:
        def value(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if match["file"]:
                self.document.secrets.add(path)
                return self._from_file(match["name"], path)
            if (found := self.environ.get(match["name"])) is not None and (found or not match["has_default"]):
                return found
            if match["has_default"]:
                return match["default"]
            self._complain(
                path, f"the variable {match['name']} is not set, and has no default as in ${{NAME:-default}}"
            )
            return ""

        self._refuse_unfinished(text, path)
        return _VARIABLE.sub(value, text)

    def _refuse_unfinished(self, text: str, path: tree.Path) -> None:
        """A place that is almost a variable would else be taken as it stands, a password with it."""
        if "${" in _VARIABLE.sub("", text):
            forms = "${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for itself"
            self._complain(path, f"`${{` begins a variable: write {forms}")

    def _from_file(self, name: str, path: tree.Path) -> str:
        try:
            return (self.file.parent / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError):
            self._complain(path, f"the file {name} cannot be read as text")
            return ""

    def _complain(self, path: tree.Path, sentence: str) -> None:
        complaint = Complaint(
            Code.CONFIG_UNSET_VARIABLE, self.document.sources[path], f"{tree.dotted(path)}: {sentence}"
        )
        self.document.complaints.append(complaint)

    def _anchored(self, text: str, path: tree.Path) -> str:
        """A relative path in the file is relative to the file."""
        named = path in _NAMES_A_FOLDER and text.startswith(("./", "../"))
        if named or (text and tree.is_file_path(tree.annotation_at(path))):
            return str(self.file.parent / text)
        return text
