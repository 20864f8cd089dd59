"""Codes are for life: each has one meaning, and something that raises it."""

from collections import Counter
from pathlib import Path

import stream_worker
from stream_worker.errors import Code

PACKAGE = Path(stream_worker.__file__).parent


def test_every_code_is_raised_somewhere_and_means_one_thing() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py") if file.name != "errors.py")
    unused = [code.name for code in Code if f"Code.{code.name}" not in source]
    assert unused == []
    assert max(Counter(code.id for code in Code).values()) == 1
