"""How long do running replies wait between two tokens while a long prompt is computed?

Eight conversations generate with SmolLM2-135M-Instruct; then one with a prompt of 4,096 tokens joins. Printed are the
times between the tokens of the eight, without it and until it has its first token, by the engine of production.
"""

import itertools
import statistics
import sys
import time

from harness import parser, report

from stream_worker.cache import cache_folder
from stream_worker.clock import SystemClock
from stream_worker.inference.loading import torch_stepper
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.inference.torch_engine import TorchStepper
from stream_worker.orders import Generate, Generated, TurnRef
from stream_worker.settings.engine import EngineSettings
from stream_worker.tokens import PromptIds, Sampling

_LANES = 8
_PROMPT = 128
_LONG_PROMPT = 4_096
_REPLY = 2_000
_STEPS_WITHOUT = 200


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    engine, words = _engine()
    pairs = [_pair(engine, words, number) for number in range(given.repeats)]
    without, beside = (list(itertools.chain.from_iterable(one)) for one in zip(*pairs, strict=True))
    results = {
        "seconds_between_tokens_without": _quantiles(without),
        "seconds_between_tokens_beside": _quantiles(beside),
        "steps_of_the_long_prompt": len(beside) // given.repeats,
    }
    ratios = {name: round(_quantiles(beside)[name] / _quantiles(without)[name], 2) for name in ("p50", "p99")}
    report("long_prompt", results, ratios)


def _engine() -> tuple[TorchStepper, tuple[int, ...]]:
    files = resolve_model(BUILT_IN, None, cache_folder("models"), lambda text: print(text, file=sys.stderr))
    tokenizer = load_tokenizer(files.folder)
    settings = EngineSettings(max_batch=_LANES + 1, max_context_tokens=8_192)
    engine = torch_stepper(files, tokenizer, tokenizer.chat_format(), settings, "cpu", SystemClock())
    return engine, tokenizer.encode_text((__doc__ or "") * 60)


def _pair(engine: TorchStepper, words: tuple[int, ...], number: int) -> tuple[list[float], list[float]]:
    """Times of steps of the eight lanes alone, and beside the long prompt."""
    names = [f"{number}-{lane}" for lane in range(_LANES)]
    for at, name in enumerate(names):
        engine.add(_order(name, words[at : at + _PROMPT], _REPLY))
    _steps(engine, 40)
    without = _steps(engine, _STEPS_WITHOUT)
    long = _order(f"{number}-long", words[number : number + _LONG_PROMPT], 1)
    engine.add(long)
    beside = _steps(engine, 10 * _LONG_PROMPT, until=long.ref)
    for name in names:
        engine.cancel(_ref(name))
    engine.step()
    return without, beside


def _steps(engine: TorchStepper, most: int, until: TurnRef | None = None) -> list[float]:
    """The seconds of each step, which are those between two tokens of every running reply."""
    seconds: list[float] = []
    while len(seconds) < most:
        before = time.perf_counter()
        results = engine.step()
        seconds.append(time.perf_counter() - before)
        if any(result.ref == until for result in results if isinstance(result, Generated)):
            break
    return seconds


def _order(name: str, ids: tuple[int, ...], most: int) -> Generate:
    return Generate(
        ref=_ref(name),
        conversation=name,
        prompt=PromptIds(ids=ids),
        sampling=Sampling(max_new_tokens=most),
        seed=0,
        cache_scope="benchmark",
    )


def _ref(name: str) -> TurnRef:
    return TurnRef(partition=0, term=1, turn_id=name, attempt=1)


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4)}


if __name__ == "__main__":
    main()
