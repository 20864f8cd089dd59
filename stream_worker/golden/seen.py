"""What was seen of a worker since the last look, and how it differs from what a golden conversation expects. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz

from stream_worker.golden.conversation import ActionFile, ExpectFile, ReplyFile
from stream_worker.stages.parsing import parser_for

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")

Value = Mapping[str, Any]
Judge = Callable[[str, str], str | None]
"""Whether a sentence is true of a reply: None, or why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`actions` are the commands and calls, by name, with their arguments. `human`: whether a human has it now."""

    replies: tuple[Value, ...] = ()
    analyses: tuple[Value, ...] = ()
    actions: tuple[tuple[str, Value], ...] = ()
    human: bool = False
    troubles: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return str(self.replies[-1]["text"]) if self.replies else ""

    @property
    def analysis(self) -> Value:
        return self.analyses[-1] if self.analyses else {}

    @property
    def intent(self) -> str | None:
        intent: str | None = self.analysis.get("intent")
        return intent

    @property
    def slots(self) -> dict[str, dict[str, Any]]:
        return {
            slot["name"]: {"value": slot["value"], "carried": slot["carried"]}
            for slot in self.analysis.get("slots", ())
        }

    def lines(self) -> Iterator[str]:
        """It in words, with the evidence."""
        yield from (f"reply    {reply['text']}" for reply in self.replies)
        if not self.replies:
            yield "reply    none"
        if analysis := self.analysis:
            scores = ", ".join(f"{each['name']} {each['score']:.2f}" for each in analysis["intents"][:3])
            yield f"intent   {self.intent}  ({scores}{'' if analysis['in_scope'] else '; out of scope'})"
            slots = [f"{name}={slot['value']}{' (carried)' * slot['carried']}" for name, slot in self.slots.items()]
            yield f"slots    {', '.join(slots) or 'none'}"
            yield f"decision {analysis['decision']}"
        yield from (f"action   {name} {dict(arguments)}" for name, arguments in self.actions)
        yield f"has it   {'a human' if self.human else 'the bot'}"
        yield from (f"trouble  {trouble}" for trouble in self.troubles)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected. `key` is the one of `expect` that is wrong."""

    key: str
    expected: str
    found: str


@dataclass(slots=True)
class Comparison:
    """Holds an expectation against what was seen; `differences` gathers what is wrong."""

    expect: ExpectFile
    seen: Seen
    judge: Judge | None = None
    differences: list[Difference] = field(default_factory=list)

    def compare(self) -> list[Difference]:
        expect, seen = self.expect, self.seen
        given = expect.model_fields_set
        if "intent" in given:
            self._same("intent", expect.intent, seen.intent)
        if expect.slots is not None:
            self._slots()
        if expect.decision is not None:
            self._same("decision", expect.decision, seen.analysis.get("decision"))
        for action in expect.action:
            self._action(action)
        if expect.no_action and seen.actions:
            self._differ("no_action", "no action", ", ".join(name for name, _ in seen.actions))
        if expect.silent and seen.replies:
            self._differ("silent", "no reply", seen.text)
        if expect.replies is not None:
            self._same("replies", expect.replies, len(seen.replies))
        if expect.handoff is not None:
            self._same("handoff", expect.handoff, seen.human)
        if expect.reply is not None:
            self._reply(expect.reply)
        if expect.judge is not None and self.judge is not None:
            why = self.judge(expect.judge, seen.text)
            if why is not None:
                self._differ("judge", expect.judge, f"{seen.text!r}: {why}")
        return self.differences

    def _slots(self) -> None:
        expected = {name: slot.value for name, slot in (self.expect.slots or {}).items()}
        found = {name: slot["value"] for name, slot in self.seen.slots.items()}
        self._same("slots", expected, found)
        for name, slot in (self.expect.slots or {}).items():
            if slot.carried is not None and name in self.seen.slots:
                carried = self.seen.slots[name]["carried"]
                self._same(f"slots.{name}.carried", slot.carried, carried)

    def _action(self, action: ActionFile) -> None:
        named = [arguments for name, arguments in self.seen.actions if name == action.name]
        if any(action.arguments.items() <= dict(arguments).items() for arguments in named):
            return
        found = ", ".join(f"{name} {dict(arguments)}" for name, arguments in self.seen.actions) or "none"
        self._differ("action", f"{action.name} {action.arguments}", found)

    def _reply(self, reply: ReplyFile) -> None:
        text = self.seen.text
        folded = text.casefold()
        for part in reply.contains:
            if part.casefold() not in folded:
                self._differ("reply.contains", part, text)
        for part in reply.not_:
            if part.casefold() in folded:
                self._differ("reply.not", f"not {part}", text)
        if reply.equals is not None:
            self._same("reply.equals", reply.equals, text)
        if reply.regex is not None and not re.search(reply.regex, text):
            self._differ("reply.regex", reply.regex, text)
        if reply.max_words is not None and (words := len(_WORD.findall(text))) > reply.max_words:
            self._differ("reply.max_words", f"at most {reply.max_words} words", f"{words} words: {text}")
        if reply.language is not None:
            self._language(reply.language, text)
        if reply.similar is not None:
            likeness = fuzz.token_sort_ratio(reply.similar.to.casefold(), folded) / 100
            if likeness < reply.similar.at_least:
                self._differ(
                    "reply.similar", f"{reply.similar.at_least:.2f} like {reply.similar.to}", f"{likeness:.2f}: {text}"
                )

    def _language(self, language: str, text: str) -> None:
        others = tuple(dict.fromkeys((language, "en", "zh")))
        found = parser_for(others).parse(text).language
        self._same("reply.language", language, found)

    def _same(self, key: str, expected: object, found: object) -> None:
        if expected != found:
            self._differ(key, str(expected), str(found))

    def _differ(self, key: str, expected: str, found: str) -> None:
        self.differences.append(Difference(key, expected, found))


def differences(expect: ExpectFile, seen: Seen, judge: Judge | None = None) -> Sequence[Difference]:
    return Comparison(expect, seen, judge).compare()
