"""What the bot does with an understood turn. Pure.

In two steps, as calls may lie between: `plan` holds what was heard against the
dialogue and the bot file and says which calls are needed; `conclude` makes the
decision of the plan and their results.

The active intent and its slots are carried over: a message that only fills
slots ("What about Shanghai?") keeps the intent and changes the slot. A form
that was interrupted comes back to its question.
"""

from collections.abc import Mapping

import orjson
from msgspec import Struct
from msgspec.structs import replace

from stream_worker.bot.bot import Ask, Bot, HttpCall, IntentRule, ModelReply, TemplateReply
from stream_worker.conversation.dialogue import MAX_FRAMES, MAX_RECENT, NEW, Dialogue, Frame, Question, QuestionKind
from stream_worker.conversation.state import Change, ConversationState, Dialogued, HeldBy, Holder
from stream_worker.stages import forms
from stream_worker.stages.facts import facts_text
from stream_worker.stages.handoff import GIVEN_BACK
from stream_worker.stages.reading import Heard, Reading, UsedSlot, read, referred, speaks

__all__ = ["Heard", "UsedSlot"]

_CANCELLED = {"en": "All right, never mind.", "zh": "好的，那就算了。"}
_AMBIGUOUS_WITHIN = 0.05
"""Two intents in scope whose scores lie closer than this are asked about."""
_UNNAMED = "?"
"""The frame of a message whose intent is being asked for."""


class CommandDraft(Struct, frozen=True):
    """A command to emit with the reply. `remind_after_s` asks for a trigger of its name, so long from now."""

    name: str
    arguments: dict[str, object]
    remind_after_s: float | None = None


class ModelAnswer(Struct, frozen=True):
    """The model is to answer. `facts` are told to it as data; `suffix` is put after its reply."""

    facts: str = ""
    suffix: str = ""
    json_schema: str | None = None


class TextAnswer(Struct, frozen=True):
    """The bot file has the answer."""

    text: str


Answer = ModelAnswer | TextAnswer


class Decision(Struct, frozen=True, kw_only=True):
    """What is done, and the changes it means for the state."""

    name: str
    intent: str | None
    slots: tuple[UsedSlot, ...]
    answer: Answer
    commands: tuple[CommandDraft, ...]
    changes: tuple[Change, ...]
    note: str = ""
    """What the model is told happened right before the message."""


class CallDraft(Struct, frozen=True):
    """A read over HTTP that the plan needs, with its templates rendered."""

    call: HttpCall
    url: str
    parameters: dict[str, str]


class Plan(Struct, frozen=True, kw_only=True):
    """`text` is the reply where it needs no rule: a question, or the end of one. `suffix` comes back to a form."""

    name: str
    heard: Heard
    dialogue: Dialogue
    intent: str | None = None
    rule: IntentRule | None = None
    slots: tuple[UsedSlot, ...] = ()
    values: Mapping[str, object]
    text: str | None = None
    suffix: str = ""
    handoff: bool = False
    given_back: bool = False
    """Whether a human had the conversation and was not heard of for too long."""
    calls: tuple[CallDraft, ...] = ()


def decide(bot: Bot, state: ConversationState, heard: Heard) -> Decision:
    """Plan and decision in one, for a plan without calls."""
    return conclude(plan(bot, state, heard), {})


def plan(bot: Bot, state: ConversationState, heard: Heard) -> Plan:
    """What is to be done about a turn. Raises BadEvent where a template fails."""
    dialogue = _remembered(bot, state, heard)
    if not speaks(heard.text) and dialogue.language:
        heard = replace(heard, language=dialogue.language)
    planner = _Planner(bot, heard, read(bot, heard), replace(dialogue, language=heard.language))
    if heard.trigger is not None:
        found = planner.run(None, bot.triggers[heard.trigger.name], (), dict(heard.trigger.arguments))
    else:
        found = planner.after_complaints() or planner.after_question() or planner.after_message()
    return replace(found, given_back=state.holder is Holder.HUMAN)


def conclude(plan: Plan, results: Mapping[str, object]) -> Decision:
    """The decision, with what the calls found out by their names. Raises BadEvent where a template fails."""
    rule, values = plan.rule, {**plan.values, **results}
    commands: tuple[CommandDraft, ...] = ()
    dialogue, answer = plan.dialogue, _answer(plan, values, results)
    if rule is not None:
        commands = _commands(rule, values)
        if rule.offer is not None:
            offered = tuple(line.strip() for line in rule.offer.values.render(values).splitlines() if line.strip())
            dialogue = replace(dialogue, offered=(rule.offer.slot, offered[:20]))
    handoff = plan.handoff or (rule is not None and rule.handoff)
    changes: tuple[Change, ...] = (Dialogued(plan.heard.sender_id, dialogue),)
    if plan.given_back:
        changes += (HeldBy(Holder.BOT, plan.heard.now_ms),)
    if handoff:
        changes += (HeldBy(Holder.HUMAN, plan.heard.now_ms),)
    return Decision(
        name=_name(plan, commands, handoff=handoff),
        intent=plan.intent,
        slots=plan.slots,
        answer=answer,
        commands=commands,
        changes=changes,
        note=_note(plan),
    )


def taken(call: HttpCall, result: object) -> object:
    """What is kept of a call's answer. Raises BadEvent where a template fails."""
    if not call.take:
        return result
    return {name: template.render({"result": result}) for name, template in call.take.items()}


def conclude_without(plan: Plan, bot: Bot, call: HttpCall) -> Decision:
    """The decision where a call has failed: the text for it, no command, and the dialogue as planned."""
    text = call.error.render(plan.heard.language, plan.values) if call.error else bot.error_reply
    failed = conclude(replace(plan, rule=None, text=text, suffix=""), {})
    return replace(failed, name=f"call_failed:{call.name}")


def _remembered(bot: Bot, state: ConversationState, heard: Heard) -> Dialogue:
    """Where the dialogue stands with the sender; anew, if nothing was heard of it for long."""
    dialogue = state.dialogue(heard.sender_id)
    if dialogue.at and heard.now_ms - dialogue.at > bot.forget_after_s * 1000:
        dialogue = NEW
    return replace(dialogue, at=heard.now_ms)


class _Planner(Struct, frozen=True):
    """The steps from a reading to a plan; each takes what the one before it left over."""

    bot: Bot
    heard: Heard
    reading: Reading
    dialogue: Dialogue

    def after_complaints(self) -> Plan | None:
        """Who is in a bad mood for too long gets a human."""
        rules, complaints = self.bot.handoff, self.dialogue.complaints + 1
        if not self.reading.complains or rules.complaints is None or complaints < rules.complaints:
            return None
        return self._give_up("complaints", replace(self.dialogue, complaints=0))

    def after_question(self) -> Plan | None:
        """The answer to what was asked, if the message is one."""
        question = self.dialogue.question
        if question is None:
            return None
        if question.kind is QuestionKind.INTENT:
            return self._after_choice(question)
        if self.reading.ear.cancels(self.reading.text):
            return self._cancel(question)
        rule, frame = self.bot.intents.get(question.intent), self.dialogue.frame(question.intent)
        ask = next((ask for ask in rule.ask if ask.slot == question.slot), None) if rule else None
        if rule is None or frame is None or ask is None:
            return None
        match forms.answer(self.bot, ask, question.intent, self.reading):
            case forms.Filled(value=value):
                filled = UsedSlot(ask.slot, value, False)
                found = (filled, *(slot for slot in self.reading.found if slot.name != ask.slot))
                return self.go_on(question.intent, found)
            case forms.Useless():
                return self._ask_again(question, ask)
            case _:
                return None

    def after_message(self) -> Plan:
        """The intent that rules this turn: the message's own, or one that it only fills slots of."""
        reading = self.reading
        fills = bool(reading.names) and (reading.only_fills or reading.corrects)
        frame = self._frame_for(reading.names) if fills else None
        if frame is None and reading.only_fills:
            frame = self._referred_frame()
        if frame is not None:
            return self.go_on(frame.intent, reading.found)
        if reading.intent is None or reading.only_fills:
            return self._fall_back()
        return self._clarify(_AMBIGUOUS_WITHIN) or self.go_on(reading.intent, reading.found)

    def go_on(self, intent: str, found: tuple[UsedSlot, ...]) -> Plan:
        """Goes on with an intent: its slots brought up to date, its next question asked, or its rule carried out."""
        rule = self.bot.intents[intent]
        slots = self._slots(intent, rule, found)
        return self.run(intent, rule, slots, {})

    def run(
        self, intent: str | None, rule: IntentRule, slots: tuple[UsedSlot, ...], arguments: Mapping[str, object]
    ) -> Plan:
        values = {slot.name: slot.value for slot in slots}
        dialogue = self._with_frame(intent, rule, values, slots)
        made = _Made(self, intent, rule, slots, {**arguments, **values}, dialogue)
        ask = forms.missing(self.bot, rule, values) if intent is not None else None
        if ask is not None and intent is not None:
            useless = any(slot.name == ask.slot and not slot.carried for slot in slots)
            return made.asking(ask, intent, useless=useless)
        return made.carried_out()

    def _slots(self, intent: str, rule: IntentRule, found: tuple[UsedSlot, ...]) -> tuple[UsedSlot, ...]:
        dialogue, denied = self.dialogue, self.reading.denied
        frame = dialogue.frame(intent)
        kept = dict(frame.slots) if frame else {}
        for name in rule.slots:
            if name not in kept and self.bot.slot(name).shared:
                shared = next((value for recent, value in dialogue.recent if recent == name), None)
                kept |= {name: shared} if shared is not None else {}
        kept |= referred(self.bot, rule, dialogue, self.reading)
        kept = {name: value for name, value in kept.items() if (name, value) not in denied and name in rule.slots}
        new = {slot.name: slot for slot in found if slot.name in rule.slots}
        return (*new.values(), *(UsedSlot(name, value, True) for name, value in kept.items() if name not in new))

    def _with_frame(
        self, intent: str | None, rule: IntentRule, values: dict[str, str], slots: tuple[UsedSlot, ...]
    ) -> Dialogue:
        """The dialogue with the intent's frame on top, where the next message may build on it."""
        dialogue = replace(self.dialogue, question=None, fallbacks=0)
        complaints = dialogue.complaints + 1 if self.reading.complains else 0
        new = tuple((slot.name, slot.value) for slot in slots)
        recent = (*new, *(pair for pair in dialogue.recent if pair not in new))[:MAX_RECENT]
        frames = tuple(frame for frame in dialogue.frames if frame.intent not in (intent, _UNNAMED))
        unfinished = forms.missing(self.bot, rule, values) is not None
        if intent is not None and (rule.keeps_intent or unfinished):
            frames = (*frames, Frame(intent, values))[-MAX_FRAMES:]
        return replace(dialogue, frames=frames, recent=recent, complaints=complaints)

    def _frame_for(self, names: frozenset[str]) -> Frame | None:
        """The frame nearest to the top that has one of these slots."""
        for frame in reversed(self.dialogue.frames):
            rule = self.bot.intents.get(frame.intent)
            if rule is not None and not names.isdisjoint(rule.slots):
                return frame
        return None

    def _referred_frame(self) -> Frame | None:
        """The frame that "the second one" chooses for."""
        for frame in reversed(self.dialogue.frames):
            rule = self.bot.intents.get(frame.intent)
            slot, values = self.dialogue.offered
            if rule and slot in rule.slots and self.reading.ear.place_of(self.reading.text, len(values)) is not None:
                return frame
        return None

    # Questions

    def _ask_again(self, question: Question, ask: Ask) -> Plan:
        if question.tries >= ask.tries:
            return self._give_up("form_failed", self._without(question.intent))
        phrase = ask.invalid or ask.prompt
        frame = self.dialogue.frame(question.intent)
        values = dict(frame.slots) if frame else {}
        return Plan(
            name="ask_again",
            heard=self.heard,
            dialogue=replace(self.dialogue, question=replace(question, tries=question.tries + 1)),
            intent=question.intent,
            slots=tuple(UsedSlot(name, value, True) for name, value in values.items()),
            values=values,
            text=phrase.render(self.heard.language, values),
        )

    def _cancel(self, question: Question) -> Plan:
        plain = _CANCELLED.get(self.heard.language, _CANCELLED["en"])
        text = self.bot.cancelled.render(self.heard.language, {}) if self.bot.cancelled else plain
        dialogue = self._without(question.intent)
        return Plan(name="cancelled", heard=self.heard, dialogue=dialogue, values={}, text=text)

    def _after_choice(self, question: Question) -> Plan | None:
        """Which of two intents was meant; the slots of the message that was asked about are its."""
        place = self.reading.ear.place_of(self.reading.text, len(question.options))
        chosen = question.options[place] if place is not None else self._labelled(question.options)
        if chosen is None and self.reading.intent in question.options:
            chosen = self.reading.intent
        if chosen is None and self.reading.ear.agreed(self.reading.text):
            chosen = question.options[0]
        if chosen is None or chosen not in self.bot.intents:
            return None
        frame = self.dialogue.frame(_UNNAMED)
        asked_about = tuple(UsedSlot(name, value, True) for name, value in frame.slots.items()) if frame else ()
        return self.go_on(chosen, (*asked_about, *self.reading.found))

    def _labelled(self, intents: tuple[str, ...]) -> str | None:
        """The one whose label the text names: as a whole, or by a word that the others do not have."""
        text = self.reading.text.casefold().strip(" .!?。！？")
        labels = {intent: self._label(intent).casefold() for intent in intents}
        for intent, label in labels.items():
            others = {word for other, words in labels.items() if other != intent for word in words.split()}
            own = set(label.split()) - others
            if label in text or (len(text) > 1 and text in label) or not own.isdisjoint(text.split()):
                return intent
        return None

    def _label(self, intent: str) -> str:
        rule = self.bot.intents.get(intent)
        return rule.label.render(self.heard.language, {}) if rule and rule.label else ""

    # What was not understood

    def _fall_back(self) -> Plan:
        """The ladder: which of two was meant, in other words please, a human."""
        ladder, fallbacks = self.bot.fallback, self.dialogue.fallbacks + 1
        dialogue = replace(self.dialogue, question=None, fallbacks=fallbacks)
        if ladder.handoff_after is not None and fallbacks >= ladder.handoff_after:
            return self._give_up("fallbacks", replace(dialogue, fallbacks=0))
        if fallbacks == 1 and (clarifying := self._clarify(ladder.clarify_within)):
            return clarifying
        if ladder.rephrase is not None:
            text = ladder.rephrase.render(self.heard.language, {})
            return Plan(name="rephrase", heard=self.heard, dialogue=dialogue, values={}, text=text)
        made = _Made(self, None, ladder.rule, (), {}, dialogue)
        return made.carried_out()

    def _clarify(self, within: float) -> Plan | None:
        """Asks which of the two likeliest intents is meant, where both have a name for it and are as likely."""
        phrase = self.bot.fallback.clarify
        named = [(intent, score) for intent, score in self.reading.scores if self._label(intent)]
        if phrase is None or len(named) < 2 or named[:2] != list(self.reading.scores[:2]):
            return None
        (first, high), (second, low) = named[:2]
        if high - low > within:
            return None
        values = {"first": self._label(first), "second": self._label(second)}
        frames = tuple(frame for frame in self.dialogue.frames if frame.intent != _UNNAMED)
        spoken = Frame(_UNNAMED, {slot.name: slot.value for slot in self.reading.found})
        question = Question(kind=QuestionKind.INTENT, intent=first, options=(first, second))
        dialogue = replace(
            self.dialogue,
            frames=(*frames, spoken)[-MAX_FRAMES:],
            question=question,
            fallbacks=self.dialogue.fallbacks + 1,
        )
        text = phrase.render(self.heard.language, values)
        return Plan(name="clarify", heard=self.heard, dialogue=dialogue, values={}, text=text)

    def _give_up(self, why: str, dialogue: Dialogue) -> Plan:
        """A human gets the conversation, where the bot has a text for it; else the fallback answers."""
        phrase = self.bot.handoff.text
        if phrase is None:
            return replace(_Made(self, None, self.bot.fallback.rule, (), {}, dialogue).carried_out(), name=why)
        text = phrase.render(self.heard.language, {})
        return Plan(name=why, heard=self.heard, dialogue=dialogue, values={}, text=text, handoff=True)

    def _without(self, intent: str) -> Dialogue:
        frames = tuple(frame for frame in self.dialogue.frames if frame.intent != intent)
        return replace(self.dialogue, frames=frames, question=None)


class _Made(Struct, frozen=True):
    """A rule that was chosen, and what it is carried out with."""

    planner: _Planner
    intent: str | None
    rule: IntentRule
    slots: tuple[UsedSlot, ...]
    values: Mapping[str, object]
    dialogue: Dialogue

    def asking(self, ask: Ask, intent: str, *, useless: bool) -> Plan:
        phrase = ask.invalid if useless and ask.invalid else ask.prompt
        question = Question(kind=QuestionKind.SLOT, intent=intent, slot=ask.slot, options=ask.choices)
        text = phrase.render(self.planner.heard.language, self.values)
        return self._plan(f"ask:{ask.slot}", replace(self.dialogue, question=question), text=text, rule=None)

    def carried_out(self) -> Plan:
        """The rule's reply, and the question of a form that it interrupted."""
        dialogue, suffix = self.dialogue, ""
        for frame in reversed(dialogue.frames):
            rule = self.planner.bot.intents.get(frame.intent)
            ask = forms.missing(self.planner.bot, rule, frame.slots) if rule else None
            if ask is not None and not self.rule.handoff:
                asked = Question(kind=QuestionKind.SLOT, intent=frame.intent, slot=ask.slot, options=ask.choices)
                dialogue = replace(dialogue, question=asked)
                suffix = ask.prompt.render(self.planner.heard.language, frame.slots)
                break
        calls = tuple(
            CallDraft(
                call,
                call.url.render(self.values),
                {name: template.render(self.values) for name, template in call.parameters.items()},
            )
            for call in self.rule.calls
        )
        return self._plan("", dialogue, text=None, rule=self.rule, suffix=suffix, calls=calls)

    def _plan(
        self,
        name: str,
        dialogue: Dialogue,
        *,
        text: str | None,
        rule: IntentRule | None,
        suffix: str = "",
        calls: tuple[CallDraft, ...] = (),
    ) -> Plan:
        return Plan(
            name=name,
            heard=self.planner.heard,
            dialogue=dialogue,
            intent=self.intent,
            rule=rule,
            slots=self.slots,
            values=self.values,
            text=text,
            suffix=suffix,
            calls=calls,
        )


def _answer(plan: Plan, values: Mapping[str, object], results: Mapping[str, object]) -> Answer:
    if plan.text is not None or plan.rule is None:
        return TextAnswer(plan.text or "")
    match plan.rule.reply:
        case ModelReply(json_schema=schema):
            slots = {slot.name: slot.value for slot in plan.slots} if results else {}
            # Nothing can be put after JSON that whoever reads it expects to be whole.
            return ModelAnswer(facts_text(results, slots), plan.suffix if schema is None else "", schema)
        case TemplateReply(phrase=phrase):
            text = phrase.render(plan.heard.language, values)
            return TextAnswer(f"{text}\n{plan.suffix}" if plan.suffix else text)


def _note(plan: Plan) -> str:
    trigger = plan.heard.trigger
    happened = [GIVEN_BACK] if plan.given_back else []
    if trigger is not None:
        arguments = f" {orjson.dumps(trigger.arguments).decode()}" if trigger.arguments else ""
        happened.append(f"Nobody wrote. It is time for: {trigger.name}{arguments}")
    return " ".join(happened)


def _commands(rule: IntentRule, values: Mapping[str, object]) -> tuple[CommandDraft, ...]:
    emitted = [
        CommandDraft(emit.command, {key: template.render(values) for key, template in emit.arguments.items()})
        for emit in rule.emit
        if emit.when is None or emit.when.render(values).strip()
    ]
    reminders = [
        CommandDraft(
            remind.trigger,
            {key: template.render(values) for key, template in remind.arguments.items()},
            remind.after_s,
        )
        for remind in rule.remind
    ]
    return (*emitted, *reminders)


def _name(plan: Plan, commands: tuple[CommandDraft, ...], *, handoff: bool) -> str:
    """The decision in words, for the analysis."""
    words = [plan.name] if plan.name else []
    if plan.rule is not None and plan.text is None:
        words += [f"call:{draft.call.name}" for draft in plan.calls]
        words += ["model" if isinstance(plan.rule.reply, ModelReply) else "template"]
    words += [f"{'emit' if command.remind_after_s is None else 'remind'}:{command.name}" for command in commands]
    words += ["handoff"] if handoff else []
    return "+".join(words)
