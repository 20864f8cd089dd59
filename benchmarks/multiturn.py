"""How long until the first token when a conversation goes on: what is kept of it against computing it anew?

One conversation of eight turns with SmolLM2-135M-Instruct, its prompt growing from 129 to about 1,125 tokens, sampled
replies included; the engine of production, once as it is and once made to forget the conversation after every turn.
"""

import statistics
import sys
from dataclasses import dataclass

from harness import parser, report

from stream_worker.cache import cache_folder
from stream_worker.clock import SystemClock
from stream_worker.inference.loading import torch_stepper
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.inference.torch_engine import TorchStepper
from stream_worker.orders import Forget, Generate, Generated, TurnRef
from stream_worker.settings.engine import EngineSettings
from stream_worker.tokens import PromptIds, Sampling

_TURNS = 8
_FIRST_PROMPT = 129
_ADDED = 78
_REPLY = 64


@dataclass(frozen=True, slots=True)
class _Turn:
    first_token_s: float
    cached: int
    known: int
    """Ids of the prompt that the turn before ended with."""


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    engine, words = _engine()
    runs = {
        forgets: [_conversation(engine, words, f"{forgets}-{number}", forgets) for number in range(given.repeats)]
        for forgets in (False, True)
    }
    kept, anew = (
        [statistics.median(run[turn].first_token_s for run in runs[forgets]) for turn in range(_TURNS)]
        for forgets in (False, True)
    )
    later = [turn for run in runs[False] for turn in run[1:]]
    results = {
        "first_token_seconds": [round(seconds, 3) for seconds in kept],
        "first_token_seconds_computed_anew": [round(seconds, 3) for seconds in anew],
        "known_tokens": [turn.known for turn in runs[False][0]],
        "prefix_hit_ratio": round(sum(turn.cached for turn in later) / sum(turn.known for turn in later), 3),
    }
    ratios = {"turn1_over_turn8": round(kept[0] / kept[-1], 3), "computed_anew": round(anew[-1] / kept[-1], 2)}
    report("multiturn", results, ratios)


def _engine() -> tuple[TorchStepper, tuple[int, ...]]:
    """The engine, warm, and enough ids of a real text to make messages of."""
    files = resolve_model(BUILT_IN, None, cache_folder("models"), lambda text: print(text, file=sys.stderr))
    tokenizer = load_tokenizer(files.folder)
    chat_format = tokenizer.chat_format()
    engine = torch_stepper(files, tokenizer, chat_format, EngineSettings(), "cpu", SystemClock())
    return engine, tokenizer.encode_text((__doc__ or "") * 20)


def _conversation(engine: TorchStepper, words: tuple[int, ...], name: str, forgets: bool) -> list[_Turn]:
    prompt, known, turns = words[:_FIRST_PROMPT], 0, []
    for number in range(_TURNS):
        done = _answer(engine, name, prompt, number)
        turns.append(_Turn(done.first_token_seconds, done.usage.cached, known))
        if forgets:
            engine.forget(Forget(conversation=name))
        prompt = (*prompt, *done.ids)
        known = len(prompt)
        prompt = (*prompt, *words[number * _ADDED : (number + 1) * _ADDED])
    return turns


def _answer(engine: TorchStepper, name: str, prompt: tuple[int, ...], turn: int) -> Generated:
    engine.add(
        Generate(
            ref=TurnRef(partition=0, term=1, turn_id=f"{name}-{turn}", attempt=1),
            conversation=name,
            prompt=PromptIds(ids=prompt),
            sampling=Sampling(max_new_tokens=_REPLY),
            seed=0,
            cache_scope="benchmark",
        )
    )
    while True:
        for result in engine.step():
            if isinstance(result, Generated):
                return result


if __name__ == "__main__":
    main()
