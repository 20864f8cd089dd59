"""What the queries of dashboards and rules name: metrics, by a parser of PromQL."""

from collections.abc import Iterator
from typing import Any

import promql_parser

from stream_worker.observability.metric_table import PREFIX

#: Grafana's variables, as a look at everything over a short time sets them.
VARIABLES = {"$namespace": ".*", "$job": ".*", "$pod": ".*", "$model": ".*", "$__rate_interval": "30s"}


def filled(promql: str, **changes: str) -> str:
    """A query with Grafana's variables replaced."""
    for name, value in {**VARIABLES, **changes}.items():
        promql = promql.replace(name, value)
    return promql


def selectors(promql: str) -> Iterator[Any]:
    """Every vector selector of a query. Raises ValueError for what is no PromQL."""
    yield from _selectors(promql_parser.parse(promql))


def _selectors(node: Any) -> Iterator[Any]:
    match node:
        case promql_parser.VectorSelector():
            yield node
        case promql_parser.MatrixSelector():
            yield node.vector_selector
        case promql_parser.AggregateExpr() | promql_parser.UnaryExpr() | promql_parser.ParenExpr():
            yield from _selectors(node.expr)
        case promql_parser.SubqueryExpr():
            yield from _selectors(node.expr)
        case promql_parser.BinaryExpr():
            yield from _selectors(node.lhs)
            yield from _selectors(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from _selectors(argument)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"an unknown node of PromQL: {type(node).__name__}")


def base_name(series: str) -> str:
    """The table's name of a series: without our prefix, and without what a histogram's parts add."""
    name = series.removeprefix(f"{PREFIX}_")
    for part in ("_bucket", "_count", "_sum"):
        name = name.removesuffix(part)
    return name
