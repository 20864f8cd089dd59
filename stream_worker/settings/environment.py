"""Settings from `STREAM_WORKER__*` variables. Two underscores: Kubernetes injects `STREAM_WORKER_PORT` and the like.

    STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS       kafka.bootstrap_servers
    STREAM_WORKER__KAFKA__CLIENT__SASL_PASSWORD   kafka.client, the key sasl.password

Lists and whole sections are written as YAML. `null` empties a setting that may be empty.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stream_worker.errors import Code
from stream_worker.settings import tree
from stream_worker.settings.source import Complaint, Origin, Source

PREFIX = "STREAM_WORKER__"

#: The settings of librdkafka that are not written with dots.
_WITH_UNDERSCORE = frozenset({"log_level"})


def read(environ: Mapping[str, str], complaints: list[Complaint]) -> Iterator[tuple[tree.Path, object, Source]]:
    """Every setting of the environment, in the order of the names."""
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        path = _path(name)
        source = Source(Origin.ENVIRONMENT, name)
        annotation = tree.annotation_at(path)
        text = environ[name]
        if annotation is None:
            # Left to validation, which knows the nearest name.
            yield path, text, source
        elif text == "null" and tree.is_optional(path):
            yield path, None, source
        elif tree.is_structured(annotation):
            try:
                yield path, _yaml(text), source
            except (YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError, AssertionError):
                # The parser itself stumbles, too, over a key that is a mapping for instance.
                complaints.append(Complaint(Code.CONFIG_INVALID_VALUE, source, "the value is not YAML"))
        else:
            yield path, text, source


def variable(path: tree.Path) -> str:
    """The name of a setting's variable."""
    return PREFIX + "__".join(str(part).replace(".", "_").upper() for part in path)


def _path(name: str) -> tree.Path:
    parts = name.removeprefix(PREFIX).lower().split("__")
    for cut in range(1, len(parts)):
        if tree.is_mapping(tree.annotation_at(tuple(parts[:cut]))):
            # librdkafka's names have dots, a variable's cannot.
            key = "__".join(parts[cut:])
            return (*parts[:cut], key if key in _WITH_UNDERSCORE else key.replace("_", "."))
    return tuple(parts)


def _yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)
