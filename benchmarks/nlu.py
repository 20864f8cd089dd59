"""How well, how fast and how surely are messages understood, and how long does it take to learn that?

Public sets: banking77, CLINC150, SNIPS and, in Chinese, CrossWOZ. What is not a published split is said in the results:
banking77 is judged on parts of its training set that were held out (with 10 examples an intent: on others). CrossWOZ
has no intents: what a user's turn does, such as `General-greet、Request-酒店`, stands for one where 50 turns or more do
it, and its values for slots; learnt and asked turns are of different dialogues. It wants
`--encoder multilingual-e5-small`.
"""

import json
import lzma
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from harness import parser, report

from stream_worker.inference.models import BUILT_IN_ENCODER
from stream_worker.inference.text_encoder import TextEncoder, load_text_encoder
from stream_worker.settings.understanding import UnderstandingSettings
from stream_worker.training.evaluate import Evaluation, evaluate
from stream_worker.training.examples import OUT_OF_SCOPE, Example, Examples, MarkedSlot
from stream_worker.training.tables import read_jsonl
from stream_worker.training.train import TrainingOptions, train

_Split = tuple[Examples, Examples]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="The folder with nlu/*.jsonl.xz.")
    english = sorted(set(_TASKS) - {"crosswoz-1000"})
    options.add_argument("--tasks", nargs="+", choices=sorted(_TASKS), default=english)
    options.add_argument("--encoder", default=BUILT_IN_ENCODER)
    options.add_argument("--frozen", action="store_true", help="Do not tune the encoder.")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    encoder = load_text_encoder(given.encoder, UnderstandingSettings().max_tokens)
    training = TrainingOptions(seed=given.seed, finetune=False if given.frozen else None)
    results = {}
    for name in given.tasks:
        learnt, asked = _TASKS[name](given.data / "nlu")
        results[name] = _run(learnt, asked, encoder, training)
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    report("nlu", {"encoder": encoder.version, "tuned": not given.frozen, **results}, {})


def _run(learnt: Examples, asked: Examples, encoder: TextEncoder, options: TrainingOptions) -> dict[str, Any]:
    started, cpu = time.monotonic(), _cpu_seconds()
    heads = train(learnt, encoder, options, lambda text: print(text, file=sys.stderr, flush=True))
    seconds, cpu = time.monotonic() - started, _cpu_seconds() - cpu
    result = evaluate(heads, asked)
    return {
        "trained_on": len(learnt.examples),
        "asked": len(asked.examples),
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu, 1),
        "messages_per_second": round(1000 / result.milliseconds),
        **_quality(result),
    }


def _quality(result: Evaluation) -> dict[str, float]:
    quality = {"accuracy_in_scope": result.accuracy_in_scope, "calibration_error": result.calibration_error}
    if result.slots:
        quality["slot_f1"] = result.slot_f1
    if result.scope is not None:
        quality["area_under_roc"] = result.scope.area_under_roc
        quality["found_at_3_percent_rejected"] = result.scope.found_at_false_alarms
        quality["rejected"] = result.scope.rejected
        quality["found"] = result.scope.found
    return {name: round(value, 4) for name, value in quality.items()}


def _cpu_seconds() -> float:
    return time.process_time()


def _read(folder: Path, *names: str) -> list[Example]:
    examples: list[Example] = []
    for name in names:
        file = folder / f"{name}.jsonl.xz"
        with lzma.open(file, "rt", encoding="utf-8") as content:
            examples += read_jsonl(file, content.read()).examples
    return examples


def _banking_10(folder: Path) -> _Split:
    learnt = _read(folder, "banking77_train_10")
    known = {example.text for example in learnt}
    rest = [example for example in _read(folder, "banking77_train") if example.text not in known]
    return Examples(tuple(learnt)), Examples(tuple(rest[::3]))


def _banking_full(folder: Path) -> _Split:
    examples = _read(folder, "banking77_train")
    random.Random(1).shuffle(examples)
    return Examples(tuple(examples[len(examples) // 5 :])), Examples(tuple(examples[: len(examples) // 5]))


def _clinc(learnt: list[Example], folder: Path) -> _Split:
    outside = [Example(one.text, (OUT_OF_SCOPE,)) for one in _read(folder, "clinc150_oos_train", "clinc150_oos_val")]
    return Examples(tuple(learnt)), Examples((*_read(folder, "clinc150_val"), *outside))


def _clinc_full(folder: Path) -> _Split:
    return _clinc(_read(folder, "clinc150_train"), folder)


def _clinc_10(folder: Path) -> _Split:
    by_intent: dict[str, list[Example]] = {}
    for example in _read(folder, "clinc150_train"):
        by_intent.setdefault(example.intent, []).append(example)
    draw = random.Random(0)
    return _clinc([one for several in by_intent.values() for one in draw.sample(several, 10)], folder)


def _snips_full(folder: Path) -> _Split:
    return Examples(tuple(_read(folder, "snips_train"))), Examples(tuple(_read(folder, "snips_valid")))


def _snips_1000(folder: Path) -> _Split:
    learnt = _read(folder, "snips_train")
    random.Random(0).shuffle(learnt)
    return Examples(tuple(learnt[:1000])), Examples(tuple(_read(folder, "snips_valid")))


_ENOUGH_TURNS = 50

_WRITTEN_OUT = {"名称", "推荐菜", "人均消费", "评分", "游玩时间", "门票", "价格", "酒店类型", "出发地", "目的地"}
"""Slots whose values stand in the message as they are labelled."""


def _crosswoz_1000(folder: Path) -> _Split:
    with ZipFile(folder.parent / "dialogues" / "crosswoz_zh" / "val.json.zip") as file:
        dialogues = list(json.loads(file.read(file.namelist()[0])).values())
    random.Random(0).shuffle(dialogues)
    turns = [[_turn(one) for one in each["messages"] if one["role"] == "usr"] for each in dialogues]
    counts = Counter(turn.intent for each in turns for turn in each)
    kept = [[turn for turn in each if counts[turn.intent] >= _ENOUGH_TURNS] for each in turns]
    learnt = [turn for each in kept[: len(kept) // 2] for turn in each]
    asked = [turn for each in kept[len(kept) // 2 :] for turn in each]
    return Examples(tuple(learnt[:1000])), Examples(tuple(asked[:1000]))


def _turn(message: dict[str, Any]) -> Example:
    text = message["content"]
    acts = sorted({f"{act}-{domain}" for act, domain, *_ in message["dialog_act"]})
    values = {
        (text.index(value), text.index(value) + len(value), f"{domain}-{slot}")
        for _, domain, slot, value in message["dialog_act"]
        if value and text.count(value) == 1 and slot in _WRITTEN_OUT
    }
    spans = sorted(values)
    apart = [one for at, one in enumerate(spans) if at == 0 or one[0] >= spans[at - 1][1]]
    return Example(text, ("、".join(acts),), tuple(MarkedSlot(name, start, end) for start, end, name in apart))


_TASKS: dict[str, Callable[[Path], _Split]] = {
    "banking77-10": _banking_10,
    "banking77-full": _banking_full,
    "clinc150-10": _clinc_10,
    "clinc150-full": _clinc_full,
    "crosswoz-1000": _crosswoz_1000,
    "snips-1000": _snips_1000,
    "snips-full": _snips_full,
}


if __name__ == "__main__":
    main()
