"""What reading commands print: a table for people, JSON or JSON lines for programs.

Without a terminal a table becomes lines with tabs, which `cut` and `awk` read.
"""

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


FormatOption = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]
Row = Mapping[str, object]


def print_rows(rows: Sequence[Row], columns: Sequence[str], output: Format) -> None:
    """Rows with the same columns. JSON has all keys of a row, a table only `columns`."""
    match output:
        case Format.JSON:
            print_json(list(rows))
        case Format.JSONL:
            for row in rows:
                _write(orjson.dumps(row, default=str) + b"\n")
        case Format.TABLE if sys.stdout.isatty():
            _print_table(rows, columns)
        case Format.TABLE:
            lines = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
            _write("".join("\t".join(line) + "\n" for line in lines).encode(errors="replace"))


def print_json(value: object) -> None:
    _write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str))


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        numeric = bool(rows) and all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    Console().print(table, markup=False)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return value.replace("\t", " ").replace("\n", " ")
        case list() | dict():
            return orjson.dumps(value).decode()
        case _:
            return str(value)


def _write(text: bytes) -> None:
    # typer's test runner and pipes both have a buffer; a reader that went away ends us as usual.
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
