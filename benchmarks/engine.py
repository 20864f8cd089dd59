"""How many tokens a second does the torch engine generate on this machine, against what else one would install?

A closed loop of C requests with SmolLM2-135M-Instruct, prompts of 95 to 149 ids of which 26 are common, 8 to 128 new
tokens, the same requests for all: ours, `generate` over static micro-batches, transformers' continuous batching,
llama.cpp, and vLLM's CPU build. Runs take turns (ours, theirs, ours, theirs); who is not at it is stopped.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from harness import parser, report
from peers import Peer, peers

from stream_worker.cache import cache_folder
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.tokenizer import load_tokenizer

_CONTENDERS = Path(__file__).parent / "contenders"
_COMMON, _SHORTEST, _LONGEST = 26, 95, 149
_FEWEST, _MOST = 8, 128
_LOAD_S = 900.0
_RUN_S = 900.0

_LAYERS = 106_000_000
_HEAD = 28_300_000
"""Parameters of SmolLM2-135M that every token passes, and those of the head, which only sampled rows pass."""


@dataclass(frozen=True, slots=True)
class Run:
    tokens_per_s: float
    first_token_p50_s: float
    rss_bytes: int


class Running:
    """A contender's process. Stopped (SIGSTOP) unless it is at it."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        command = [peer.python, str(_CONTENDERS / peer.program), str(folder), *peer.arguments]
        threads = str(len(os.sched_getaffinity(0)))
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", **peer.environment}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip
        self.loaded = self._answer(_LOAD_S)
        self._signal(signal.SIGSTOP)

    def run(self, requests: Sequence[tuple[list[int], int]], concurrency: int) -> Run:
        assert self._child.stdin is not None
        self._signal(signal.SIGCONT)
        self._child.stdin.write(json.dumps({"concurrency": concurrency, "requests": requests}) + "\n")
        self._child.stdin.flush()
        answer = self._answer(_RUN_S)
        self._signal(signal.SIGSTOP)
        tokens = sum(new for _, new in requests)
        first = statistics.median(answer["first_token_s"])
        return Run(tokens / answer["seconds"], first, answer["rss_bytes"])

    def _answer(self, deadline_s: float) -> dict[str, Any]:
        """The next line that is meant for us: libraries print what they like."""
        assert self._child.stdout is not None
        deadline = time.monotonic() + deadline_s
        while line := self._child.stdout.readline():
            if line.startswith("RESULT "):
                answer: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                if "failed" not in answer:
                    return answer
                raise self._broken(answer["failed"])
            if time.monotonic() > deadline:
                break
        raise self._broken("ended, or gave no answer in time")

    def _broken(self, why: str) -> RuntimeError:
        """What it ran into; of its process nothing is left."""
        self._end()
        return RuntimeError(why)

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: int) -> None:
        os.killpg(self._child.pid, number)

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--concurrency", default="8,16,32,64", help="comma-separated")
    options.add_argument("--repeats", type=int, default=3, help="pairs of each comparison")
    options.add_argument("--requests", type=int, default=0, help="in a run; 0 is three for each of the concurrency")
    options.add_argument("--peers", default="", help="comma-separated; empty is all")
    given = options.parse_args()
    levels = [int(each) for each in given.concurrency.split(",")]
    chosen = {name for name in given.peers.split(",") if name}
    folder = resolve_model(BUILT_IN, None, cache_folder("models"), lambda text: print(text, file=sys.stderr)).folder
    asked = {level: _requests(folder, given.requests or max(48, 3 * level)) for level in levels}
    bounds = _bounds()
    with ExitStack() as stack:
        ours = stack.enter_context(Running(peers()["ours"], folder))
        results: dict[str, Any] = {"ours": {"load": ours.loaded}}
        ratios: dict[str, dict[str, float]] = {}
        mine: dict[int, list[Run]] = {level: [] for level in levels}
        for name, peer in peers().items():
            if name == "ours" or (chosen and name not in chosen):
                continue
            if peer.missing:
                print(f"{name}: not measured: {peer.missing}", file=sys.stderr)
                results[name] = {"not_measured": peer.missing}
                continue
            try:
                with Running(peer, folder) as theirs:
                    results[name], ratios[name] = _pairs(name, ours, theirs, asked, given.repeats, mine)
            except RuntimeError as error:
                results[name] = {"not_measured": f"failed: {error}"}
        results["ours"] |= {str(level): _median(runs) for level, runs in mine.items() if runs}
    results["bounds"] = bounds | {str(level): _share(bounds, asked[level], mine[level]) for level in levels}
    report("engine", results, ratios)


def _pairs(
    name: str,
    ours: Running,
    theirs: Running,
    asked: Mapping[int, list[tuple[list[int], int]]],
    repeats: int,
    mine: dict[int, list[Run]],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Ours, theirs, ours, theirs; the ratio is the median of the pairs'."""
    results: dict[str, Any] = {"load": theirs.loaded}
    ratios: dict[str, float] = {}
    for level, requests in asked.items():
        pairs = [(ours.run(requests, level), theirs.run(requests, level)) for _ in range(repeats)]
        mine[level] += [one for one, _ in pairs]
        results[str(level)] = _median([other for _, other in pairs])
        ratio = statistics.median(one.tokens_per_s / other.tokens_per_s for one, other in pairs)
        ratios[str(level)] = round(ratio, 3)
        paired = " ".join(f"{one.tokens_per_s:.0f}:{other.tokens_per_s:.0f}" for one, other in pairs)
        print(f"{name} C={level}: {paired} tok/s, ratio {ratio:.2f}", file=sys.stderr)
    return results, ratios


def _median(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "tokens_per_s": round(statistics.median(run.tokens_per_s for run in runs), 1),
        "first_token_p50_s": round(statistics.median(run.first_token_p50_s for run in runs), 3),
        "rss_gb": round(max(run.rss_bytes for run in runs) / 1e9, 2),
    }


def _requests(folder: Path, count: int) -> list[tuple[list[int], int]]:
    """Chats of one turn: the template's ids, and words of a text that everybody has."""
    tokenizer = load_tokenizer(folder)
    chat_format = tokenizer.chat_format()
    head = list(tokenizer.encode_markup(f"{chat_format.before_system or ''}{'Be brief. ' * 20}"))[:_COMMON]
    tail = list(tokenizer.encode_markup(chat_format.user_to_reply))
    words = list(tokenizer.encode_text((Path(__file__).parent.parent / "LICENSE").read_text()))
    draw = random.Random(1)
    requests = []
    for _ in range(count):
        length = draw.randint(_SHORTEST, _LONGEST) - len(head) - len(tail)
        start = draw.randrange(len(words) - length)
        requests.append(([*head, *words[start : start + length], *tail], draw.randint(_FEWEST, _MOST)))
    return requests


def _bounds() -> dict[str, float]:
    """What the machine can do: bytes read a second, and products of bfloat16 matrices."""
    big = torch.ones(1 << 26)
    read = min(_timed(lambda: big.sum()) for _ in range(5))
    one, other = torch.ones(2_048, 2_048, dtype=torch.bfloat16), torch.ones(2_048, 2_048, dtype=torch.bfloat16)
    product = min(_timed(lambda: one @ other) for _ in range(8))
    return {"read_gb_per_s": round(big.nbytes / read / 1e9, 1), "bf16_gflops": round(2 * 2_048**3 / product / 1e9)}


def _timed(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _share(bounds: Mapping[str, float], requests: list[tuple[list[int], int]], runs: Sequence[Run]) -> dict[str, float]:
    """Tokens a second if nothing but the products cost time, each weight being read once a step at the least.

    The common ids count once: whoever shares prefixes need not compute them again.
    """
    new = sum(new for _, new in requests)
    rows = new + sum(len(ids) - _COMMON for ids, _ in requests)
    bound = new / (2 * (rows * _LAYERS + new * _HEAD) / (bounds["bf16_gflops"] * 1e9))
    reached = statistics.median(run.tokens_per_s for run in runs) / bound if runs else 0.0
    return {"bound_tokens_per_s": round(bound), "reached": round(reached, 2)}


if __name__ == "__main__":
    main()
