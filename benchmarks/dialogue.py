"""How well does the worker's dialogue keep what the user wants, over the turns of real task dialogues?

MultiWOZ 2.1, SGD and CrossWOZ (development parts), played through the dialogue that the worker runs, with a bot file
made of each set's tasks. Joint goal accuracy: the share of turns after which every slot is right. Once with what the
set says that each message means (`gold`), once with heads trained here on half of the dialogues (`own`), against
knowing the last message only, and against never forgetting a value.

What the recorded assistant asked and offered stands in place of what the bot would have asked and offered.
"""

import json
import sys
import time
from argparse import BooleanOptionalAction
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import parser, report
from msgspec.structs import replace
from recorded_dialogues import SETS, Recorded, UserTurn, owner, plain

from stream_worker.bot.bot import Bot
from stream_worker.bot.loader import load_bot
from stream_worker.conversation.dialogue import Question, QuestionKind
from stream_worker.conversation.state import EMPTY, Bounds, ConversationState, Dialogued, apply
from stream_worker.inference.encoder import AUTO, HeadsEncoder
from stream_worker.inference.text_encoder import load_text_encoder
from stream_worker.orders import Encode, Encoded, IntentScore, SlotSpan, TurnRef
from stream_worker.settings import Settings
from stream_worker.settings.understanding import UnderstandingSettings
from stream_worker.stages.dialogue import Heard, conclude, plan
from stream_worker.training.examples import Example, Examples, MarkedSlot
from stream_worker.training.languages import choose_encoder
from stream_worker.training.train import TrainingOptions, train

_SENDER = "user"
_ELSE = "something_else"
"""The intent of messages that belong to no task: thanks, good-bye."""
_REF = TurnRef(0, 0, "", 0)
_HEADS = "heads"
_BOUNDS = Bounds(max_messages=0, dedup_window=0)
_TURN_MS = 20_000
_OURS, _LAST, _EVER = "dialogue", "last turn only", "never forget"

Goal = dict[str, str]
Understand = Callable[[UserTurn], Encoded]
Dialogues = Sequence[tuple[UserTurn, ...]]

_KINDS = {
    "date": ("day", "date"),
    "time": ("time", "leaveat", "arriveby"),
    "place": ("area", "destination", "departure", "location", "city", "origin", "where", "address", "目的地", "出发地"),
    "thing": ("name", "名称"),
}


def _kind(slot: str) -> str:
    """What a bot's author would say of a slot of this name."""
    words = slot.casefold().rpartition("/")[2]
    return next((kind for kind, names in _KINDS.items() if any(name in words for name in names)), "text")


class GeneratedBot:
    """A bot file for a set: each task an intent, its slots a form in no special order."""

    def __init__(self, recorded: Recorded, folder: Path) -> None:
        self._services = recorded.services
        self.language = recorded.language
        intents = {
            task: {"ask": [{"slot": self.name_of(slot), "prompt": f"{slot}?"} for slot in slots]}
            for task, slots in recorded.tasks.items()
            if slots
        }
        slots = {self.name_of(slot) for slots in recorded.tasks.values() for slot in slots}
        text = {
            "bot": "recorded",
            "languages": [recorded.language],
            "understanding": _HEADS,
            "slots": {name: {"kind": _kind(name), "shared": recorded.services} for name in sorted(slots)},
            "intents": {**intents, _ELSE: {"keeps_intent": False}},
        }
        file = folder / "bot.yaml"
        file.write_text(json.dumps(text, ensure_ascii=False), encoding="utf-8")
        self.bot: Bot = load_bot(file, Settings())

    def name_of(self, slot: str) -> str:
        """As the bot's author would call it: `day`, of whatever task; in a set of services each has its own."""
        return slot if self._services or _kind(slot) == "thing" else slot.partition("/")[2]

    def slot_of(self, task: str, name: str) -> str:
        """The set's name for a slot of the bot."""
        return name if "/" in name else f"{task}/{name}"

    def goal(self, state: ConversationState) -> Goal:
        """What the dialogue knows, by the slots of the set; of several intents of a service the last one counts."""
        return {
            self.slot_of(owner(frame.intent), name): value
            for frame in state.dialogue(_SENDER).frames
            if frame.intent in self.bot.intents
            for name, value in frame.slots.items()
        }

    def heard_before(self, state: ConversationState, turn: UserTurn) -> ConversationState:
        """The state with what the recorded assistant asked and offered last."""
        dialogue = state.dialogue(_SENDER)
        asked = next(
            (
                Question(kind=QuestionKind.SLOT, intent=frame.intent, slot=self.name_of(slot))
                for slot in turn.asked
                for frame in reversed(dialogue.frames)
                if frame.intent in self.bot.intents
                and owner(frame.intent) == owner(slot)
                and self.name_of(slot) in self.bot.intents[frame.intent].slots
            ),
            None,
        )
        offers = {self.name_of(slot): values for slot, values in turn.offered.items()}
        changed = replace(dialogue, question=asked, offers=dialogue.offers | offers, proposed=bool(offers))
        return apply(state, (Dialogued(_SENDER, changed),), _BOUNDS)


# What a message means


def gold(generated: GeneratedBot) -> Understand:
    def understand(turn: UserTurn) -> Encoded:
        spans = [
            SlotSpan(generated.name_of(each.slot), each.value, each.start or 0, each.end or 0, 1.0)
            for each in turn.meant
        ]
        intents = turn.intents or (_ELSE,)
        return Encoded(
            ref=_REF,
            intents=tuple(IntentScore(name, 1.0 - 0.1 * place) for place, name in enumerate(intents)),
            in_scope=True,
            scope=1.0,
            slots=tuple(spans),
            batch_size=1,
            seconds=0.0,
        )

    return understand


def own(generated: GeneratedBot, learnt: Sequence[UserTurn], encoder_name: str, options: TrainingOptions) -> Understand:
    """Heads trained on what was said in the dialogues that nobody is asked."""
    examples = Examples(tuple(_example(generated, turn) for turn in learnt if turn.text.strip()))
    if encoder_name == AUTO:
        # As `nlu train` chooses it: of CrossWOZ' Chinese the English encoder reads next to nothing.
        encoder_name = choose_encoder(examples).encoder
    encoder = load_text_encoder(encoder_name, UnderstandingSettings().max_tokens)
    trained = HeadsEncoder({_HEADS: train(examples, encoder, options, _tell)})

    def understand(turn: UserTurn) -> Encoded:
        (encoded,) = trained.encode([Encode(ref=_REF, text=turn.text, heads=_HEADS, language=generated.language)])
        assert isinstance(encoded, Encoded)
        return encoded

    return understand


def _example(generated: GeneratedBot, turn: UserTurn) -> Example:
    marked = [
        MarkedSlot(generated.name_of(each.slot), each.start, each.end or 0)
        for each in turn.meant
        if each.start is not None
    ]
    return Example(turn.text, turn.intents or (_ELSE,), tuple(sorted(marked, key=lambda slot: slot.start)))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Playing and judging


@dataclass(slots=True)
class Score:
    """Of one way to track. `errors` are slots that became wrong, by what they are, each with one such message."""

    turns: int = 0
    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "joint_goal_accuracy": round(self.right / self.turns, 4),
            "turns": self.turns,
            "errors": [
                {"what": what, "slots": count, "such_as": self.examples[what]}
                for what, count in self.errors.most_common()
            ],
        }


class Track:
    """One dialogue, as the worker tracks it, as the last message alone has it, and as who never forgets has it."""

    def __init__(self, generated: GeneratedBot, understand: Understand, scores: Mapping[str, Score]) -> None:
        self._generated = generated
        self._understand = understand
        self._scores = scores
        self._state = EMPTY
        self._now_ms = 1_000_000
        self._ever: Goal = {}
        self._wrong: dict[str, frozenset[str]] = {way: frozenset() for way in scores}
        self._said: set[str] = set()
        self._offered: set[str] = set()

    def hear(self, turn: UserTurn) -> None:
        generated = self._generated
        self._now_ms += _TURN_MS
        self._state = generated.heard_before(self._state, turn)
        understood = self._understand(turn)
        heard = Heard(
            text=turn.text,
            language=generated.language,
            understanding=understood,
            sender_id=_SENDER,
            now_ms=self._now_ms,
        )
        self._state = apply(self._state, conclude(plan(generated.bot, self._state, heard), {}).changes, _BOUNDS)
        last = self._last(understood, turn)
        self._ever |= last
        self._offered |= {plain(value) for values in turn.offered.values() for value in values}
        for way, found in ((_OURS, generated.goal(self._state)), (_LAST, last), (_EVER, self._ever)):
            self._judge(way, found, turn, last)
        self._said |= {plain(value) for value in last.values()}

    def _last(self, understood: Encoded, turn: UserTurn) -> Goal:
        """The values of the message, of the task that it is about, or that the set says they are of."""
        tasks = {(self._generated.name_of(each.slot), each.value): each.slot for each in turn.meant}
        intent = owner(understood.intents[0].name)
        return {
            tasks.get((span.name, span.value)) or self._generated.slot_of(intent, span.name): span.value
            for span in understood.slots
        }

    def _judge(self, way: str, found: Goal, turn: UserTurn, last: Goal) -> None:
        score = self._scores[way]
        known = {slot: plain(value) for slot, value in found.items() if owner(slot) in turn.judged}
        missing = {slot for slot, values in turn.goal.items() if known.get(slot) not in values}
        wrong = frozenset(missing | (known.keys() - turn.goal.keys()))
        score.turns += 1
        score.right += not wrong
        for slot in sorted(wrong - self._wrong[way]):
            what = self._what(slot, known, turn.goal.get(slot, frozenset()), last)
            score.errors[what] += 1
            score.examples.setdefault(what, f"{slot}: {turn.text}")
        self._wrong[way] = wrong

    def _what(self, slot: str, known: Goal, goal: frozenset[str], last: Goal) -> str:
        if not goal:
            return "the set has no value, " + ("the message has" if slot in last else "an earlier one is kept")
        if slot in known:
            return "another value, " + ("of the message" if slot in last else "kept or referred to")
        if plain(last.get(slot, "")) in goal:
            return "missed, though the message has it"
        if goal & self._offered:
            return "missed: it was offered"
        if goal & self._said:
            return "missed: it was said of another slot"
        return "missed: nobody said it in these words"


def played(generated: GeneratedBot, dialogues: Dialogues, understand: Understand) -> dict[str, Any]:
    scores = {way: Score() for way in (_OURS, _LAST, _EVER)}
    started = time.process_time()
    for dialogue in dialogues:
        track = Track(generated, understand, scores)
        for turn in dialogue:
            track.hear(turn)
    seconds = time.process_time() - started
    return {way: score.as_json() for way, score in scores.items()} | {"cpu_seconds": round(seconds, 1)}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="The folder with dialogues/.")
    options.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    options.add_argument("--learn", type=int, default=1_000, help="Messages to train on; 0 leaves `own` out.")
    options.add_argument("--ask", type=int, default=200, help="Dialogues that `own` is asked.")
    options.add_argument("--encoder", default=AUTO, help="`auto`: by the language of each set, as `nlu train` does.")
    options.add_argument(
        "--finetune", action=BooleanOptionalAction, help="Tune the encoder, too; without either as `nlu train` does."
    )
    given = options.parse_args()
    results: dict[str, Any] = {}
    for name in given.sets:
        recorded = SETS[name](given.data / "dialogues")
        with TemporaryDirectory() as folder:
            generated = GeneratedBot(recorded, Path(folder))
        results[name] = {"gold": played(generated, recorded.dialogues, gold(generated))}
        if given.learn:
            # Every other dialogue is learnt from, some messages of each.
            learnt = [turn for dialogue in recorded.dialogues[1::2] for turn in dialogue]
            learnt = learnt[:: max(1, len(learnt) // given.learn)][: given.learn]
            others = recorded.dialogues[::2]
            asked = others[:: max(1, len(others) // given.ask)][: given.ask]
            results[name]["gold, the same dialogues"] = played(generated, asked, gold(generated))
            trained = own(generated, learnt, given.encoder, TrainingOptions(finetune=given.finetune))
            results[name]["own"] = played(generated, asked, trained)
        print(name, json.dumps(results[name], ensure_ascii=False), file=sys.stderr, flush=True)
    report("dialogue", {"encoder": given.encoder, **results}, _ratios(results))


def _ratios(results: Mapping[str, Any]) -> dict[str, float]:
    """Of the accuracies; above 1 the worker's dialogue is better."""
    return {
        f"{name}, {understanding}, {_OURS} / {other}": round(
            ways[_OURS]["joint_goal_accuracy"] / max(ways[other]["joint_goal_accuracy"], 1e-4), 3
        )
        for name, by_understanding in results.items()
        for understanding, ways in by_understanding.items()
        for other in (_LAST, _EVER)
    }


if __name__ == "__main__":
    main()
