"""What reading commands print: a table for people, JSON or JSON lines for programs.

Everything goes through here: what is printed is a dataclass of `outputs/`, whose fields are the keys. Without a
terminal a table becomes lines with tabs, which `cut` and `awk` read.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


FormatOption = Annotated[
    Format, typer.Option("-o", "--output", help="A table, one JSON document, or a line of JSON for each row.")
]

_PROPERTIES = ("property", "value")


def print_rows(
    rows: "Sequence[DataclassInstance]",
    columns: Sequence[str],
    output: Format,
    document: "DataclassInstance | None" = None,
) -> None:
    """Rows of one kind: a table has only `columns`. JSON is the `document`, or the list of rows where there is none."""
    match output:
        case Format.JSON:
            print_json(list(rows) if document is None else document)
        case Format.JSONL:
            _write(b"".join(_line(row) for row in rows))
        case Format.TABLE:
            _print_table([[getattr(row, name) for name in columns] for row in rows], columns)


def print_one(value: "DataclassInstance", output: Format) -> None:
    """One thing: its properties as a table. What is null is left out of that."""
    match output:
        case Format.JSON:
            print_json(value)
        case Format.JSONL:
            _write(_line(value))
        case Format.TABLE:
            shown = [(field.name, getattr(value, field.name)) for field in fields(value)]
            _print_table([[name, each] for name, each in shown if each is not None], _PROPERTIES)


class RowStream:
    """Rows that are printed as they come. A table cannot know its widths yet: its lines have tabs."""

    def __init__(self, columns: Sequence[str], output: Format) -> None:
        self._columns = columns
        self._output = output
        self._count = 0

    def write(self, rows: "Sequence[DataclassInstance]") -> None:
        _write(b"".join(self._piece(row) for row in rows))

    def _piece(self, row: "DataclassInstance") -> bytes:
        self._count += 1
        is_first = self._count == 1
        match self._output:
            case Format.JSON:
                return (b"[\n" if is_first else b",\n") + orjson.dumps(row)
            case Format.JSONL:
                return _line(row)
            case Format.TABLE:
                cells = _tabs([_cell(getattr(row, name)) for name in self._columns])
                return _tabs(self._columns) + cells if is_first else cells

    def end(self) -> None:
        if self._output is Format.JSON:
            _write(b"\n]\n" if self._count else b"[]\n")


@contextmanager
def row_stream(columns: Sequence[str], output: Format) -> Iterator[RowStream]:
    """Also after Ctrl-C the JSON document is whole."""
    stream = RowStream(columns, output)
    try:
        yield stream
    finally:
        stream.end()


def print_json(value: object) -> None:
    _write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _line(row: "DataclassInstance") -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _print_table(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    if not sys.stdout.isatty():
        _write(b"".join(_tabs(line) for line in (columns, *([_cell(value) for value in row] for row in rows))))
        return
    table = Table(box=None, pad_edge=False)
    for position, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table, markup=False)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return value.replace("\t", " ").replace("\n", " ")
        case Mapping() | Sequence():
            return orjson.dumps(value).decode()
        case _:
            return str(value)


def _tabs(cells: Sequence[str]) -> bytes:
    return ("\t".join(cells) + "\n").encode(errors="replace")


def _write(text: bytes) -> None:
    # typer's test runner and pipes both have a buffer; a reader that went away ends us as usual.
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
