"""Reads the files of examples, by the ends of their names."""

from collections.abc import Sequence
from pathlib import Path

from stream_worker.errors import Code, Misconfigured
from stream_worker.training.examples import Examples, merge
from stream_worker.training.rasa_yaml import read_rasa_yaml
from stream_worker.training.tables import read_csv, read_jsonl

_READERS = {
    ".yml": read_rasa_yaml,
    ".yaml": read_rasa_yaml,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
}


def read_examples(paths: Sequence[Path]) -> Examples:
    """All examples of these files, and of the files of examples in these folders.

    Raises Misconfigured with file and line of what is wrong.
    """
    files = [file for path in paths for file in _files(path)]
    examples = merge([_read_file(file) for file in files])
    if not examples.examples:
        named = ", ".join(str(path) for path in paths)
        raise Misconfigured(Code.EXAMPLES_INVALID, f"no examples of any intent in {named}")
    return examples


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in _READERS)


def _read_file(file: Path) -> Examples:
    reader = _READERS.get(file.suffix)
    if reader is None:
        known = ", ".join(_READERS)
        raise Misconfigured(Code.EXAMPLES_INVALID, f"{file}: examples are in files that end in {known}")
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Misconfigured(Code.EXAMPLES_INVALID, f"cannot read the examples {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(Code.EXAMPLES_INVALID, f"{file}: not UTF-8 at byte {error.start}") from error
    return reader(file, content)
