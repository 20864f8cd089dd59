"""What every contender of `engine.py` does: load, then answer the same requests in a closed loop, as often as told.

Needs nothing but the standard library: contenders run in environments of their own. Reads one JSON line per run,
`{"concurrency": 8, "requests": [[prompt ids, new tokens], ...]}`, and prints lines that begin with `RESULT `.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Request = tuple[list[int], int]
"""The ids of the prompt, and how many tokens are to be generated, whatever they are."""

STARTED = time.monotonic()


class Contender(Protocol):
    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        """Answers all, `concurrency` at a time; seconds from each one's submission to its first token."""
        ...


def serve(load: Callable[[str], Contender]) -> None:
    """`load` is given the model's folder, argv[1]. Imports stand at the contender's top, so that loading is apart."""
    imported = time.monotonic()
    contender = load(sys.argv[1])
    loaded = time.monotonic()
    contender.run([(list(range(10, 60)), 4)] * 2, 2)
    warm = time.monotonic()
    say(import_s=imported - STARTED, load_s=loaded - imported, warm_s=warm - loaded)
    for line in sys.stdin:
        order = json.loads(line)
        requests = [(ids, new) for ids, new in order["requests"]]
        begun = time.monotonic()
        first = contender.run(requests, order["concurrency"])
        say(seconds=time.monotonic() - begun, first_token_s=sorted(first), rss_bytes=_resident(os.getpid()))


def say(**values: object) -> None:
    print("RESULT " + json.dumps(values), flush=True)


def _resident(pid: int) -> int:
    """Of a process and its children."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return own + sum(_resident(int(child)) for each in children for child in each.read_text().split())
