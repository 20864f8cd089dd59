"""The JSON Schema of the settings file, for editors: the tree, with `${NAME}` wherever a value may stand."""

from typing import Any

from stream_worker.settings.root import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: A text with a variable or a secret's file in it: what it will be is known only when the worker starts.
_VARIABLE = {"type": "string", "pattern": r"\$\{[^}]*\}"}
_VALUES = {"string", "integer", "number", "boolean"}


def file_schema() -> dict[str, Any]:
    schema = _with_variables(Settings.model_json_schema())
    return {**schema, "$schema": _DIALECT, "title": "stream-worker settings"}


def _with_variables(node: Any) -> Any:
    """The same, where each value that is no plain text may also be a variable's place."""
    if isinstance(node, list):
        return [_with_variables(each) for each in node]
    if not isinstance(node, dict):
        return node
    # Names of settings and definitions stand where schemas do: they are passed over, their schemas are not.
    node = {
        key: {name: _with_variables(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else value
        if key in ("default", "examples", "const", "enum")
        else _with_variables(value)
        for key, value in node.items()
    }
    if node.get("type") not in _VALUES and "enum" not in node and "const" not in node:
        return node
    if node.get("type") == "string" and not node.keys() & {
        "enum",
        "const",
        "pattern",
        "minLength",
        "maxLength",
        "format",
    }:
        return node
    kept = {key: node.pop(key) for key in ("title", "description", "default") if key in node}
    return {**kept, "anyOf": [node, dict(_VARIABLE)]}
