"""Records and files as they would be after an accident: valid ones, damaged. For properties marked `fuzz`."""

import re
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

#: What parsers and the code behind them trip over: numbers, nesting, characters, and words of YAML.
_PIECES = st.sampled_from(
    [
        *(b"9" * digits for digits in (19, 40, 400, 5_000)),
        *(b"-9223372036854775809", b"1e308", b"1e999", b"-0.0", b"NaN", b"Infinity", b"1.5", b"true", b"null", b'""'),
        *(b"[" * depth + b"]" * depth for depth in (100, 300, 1_100)),
        *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (100, 300, 1_100)),
        *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x00", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
        *(b'"\\ud800"', b'"\\udfff"', b'"\\u0000"', b"\\ud800", b'{"\\ud800":1}', b'{"":{}}', b"{}", b"[]"),
        *(b"*a", b"&a ", b"<<: ", b"? ", b"- ", b"---\n", b"...\n", b"!x ", b"!!binary ", b"!!set ", b"!!timestamp "),
        *(b"2024-13-45", b"12:30:45", b"0x1f", b"0o17", b"~", b"|", b">", b"%", b"@", b"`", b"\t", b"\n", b": ", b"#"),
        *(b"${A", b"${file:x}", b"${file:/}", b"${A:-b}", b"$${", b"{{ x }}", b"{{", b"{% for a in b %}", b"{{ 1/0 }}"),
    ]
)
_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[A-Za-z_]+')
_ENTRY = re.compile(rb'"[^"]*":("[^"]*"|-?\d+|true|false|null)|(?m:^[ ]*[a-z_]+: .*$)')


@st.composite
def damaged(draw: st.DrawFn, honest: dict[str, Any]) -> bytes:
    """A JSON record with some of its fields, at any depth, replaced by anything or left out."""

    def change(value: Any) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(_JSON)
        if isinstance(value, dict):
            return {key: change(inner) for key, inner in value.items() if draw(st.integers(0, 19))}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return value

    return orjson.dumps(change(honest))


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of `valid` with up to four of its places changed: bits, cuts, splices with another, what parsers dislike."""
    raw = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.sampled_from(["flip", "cut", "splice", "insert", "replace", "double"])):
            case "flip" if raw:
                at = min(at, len(raw) - 1)
                raw = raw[:at] + bytes([raw[at] ^ 1 << draw(st.integers(0, 7))]) + raw[at + 1 :]
            case "cut":
                raw = raw[:at]
            case "splice":
                other = draw(st.sampled_from(valid))
                raw = raw[:at] + other[draw(st.integers(0, len(other))) :]
            case "insert":
                raw = raw[:at] + draw(_PIECES) + raw[at:]
            case "replace" if places := list(_VALUE.finditer(raw)):
                place = draw(st.sampled_from(places))
                raw = raw[: place.start()] + draw(_PIECES) + raw[place.end() :]
            case "double" if places := list(_ENTRY.finditer(raw)):
                place = draw(st.sampled_from(places))
                between = b"," if raw[place.start() : place.start() + 1] == b'"' else b"\n"
                raw = raw[: place.end()] + between + place[0] + raw[place.end() :]
            case _:
                pass
    return raw


def broken(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, or one of the `valid` JSON records after an accident."""
    fields = st.sampled_from(valid).flatmap(lambda raw: damaged(orjson.loads(raw)))
    return st.binary(max_size=80) | fields | mutated(valid)
