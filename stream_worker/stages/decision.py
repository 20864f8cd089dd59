"""What the bot does with an understood turn: its reply, its commands, and what they change. Pure."""

from collections.abc import Mapping
from dataclasses import replace as replaced

import orjson
from msgspec import Struct
from msgspec.structs import replace

from stream_worker.bot.bot import Bot, HttpCall, IntentRule, ModelReply, TemplateReply
from stream_worker.conversation.state import Change, Dialogued, HeldBy, Holder
from stream_worker.errors import BadEvent
from stream_worker.orders import Called, CallFailed
from stream_worker.stages.facts import facts_text
from stream_worker.stages.handoff import GIVEN_BACK
from stream_worker.stages.plan import Plan
from stream_worker.stages.reading import UsedSlot

_MOST_OFFERED = 20


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


def conclude(plan: Plan, results: Mapping[str, object]) -> Decision:
    """The decision, with what the calls found out by their names. Raises BadEvent where a template fails."""
    rule, values = plan.rule, {**plan.values, **results}
    commands: tuple[CommandDraft, ...] = ()
    dialogue, answer = plan.dialogue, _answer(plan, values, results)
    if rule is not None:
        commands = _commands(rule, values)
        if rule.offers:
            dialogue = replace(dialogue, offers=dialogue.offers | _offers(rule, values), proposed=True)
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


def taken(call: HttpCall, answered: Called) -> Called | CallFailed:
    """The call with what is kept of its answer; one whose answer is not as `take` expects it has failed, too.

    What a service answers is not the bot's doing: a place that it does not know, an error of its own in good JSON.
    """
    if not call.take:
        return answered
    try:
        kept = {name: template.render({"result": answered.result}) for name, template in call.take.items()}
    except BadEvent as error:
        message = f"the answer is not what `take` expects: {error.detail}"
        return CallFailed(ref=answered.ref, number=answered.number, message=message, seconds=answered.seconds)
    return replaced(answered, result=kept)


def conclude_without(plan: Plan, bot: Bot, call: HttpCall) -> Decision:
    """The decision where a call has failed: the text for it, no command, and the dialogue as planned."""
    text = call.error.render(plan.heard.language, plan.values) if call.error else bot.error_reply
    failed = conclude(replace(plan, rule=None, text=text, suffix=""), {})
    return replace(failed, name=f"call_failed:{call.name}")


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


def _offers(rule: IntentRule, values: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """By slot what the reply offers for it, in its order."""
    lines = {offer.slot: offer.values.render(values).splitlines() for offer in rule.offers}
    named = {slot: tuple(line.strip() for line in each if line.strip()) for slot, each in lines.items()}
    return {slot: each[:_MOST_OFFERED] for slot, each in named.items() if each}


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
