"""A rule of the bot file is chosen: its next question is asked, or it is carried out. Pure."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from stream_worker.bot.bot import Ask, IntentRule
from stream_worker.conversation.dialogue import Dialogue, Question, QuestionKind
from stream_worker.stages import forms
from stream_worker.stages.plan import CallDraft, Plan, Situation
from stream_worker.stages.reading import UsedSlot
from stream_worker.stages.tracking import carried_over, with_frame


def go_on(situation: Situation, intent: str, found: tuple[UsedSlot, ...]) -> Plan:
    """Goes on with an intent: its slots brought up to date, its next question asked, or its rule carried out."""
    rule = situation.bot.intents[intent]
    slots = carried_over(situation, intent, rule, found)
    chosen = Chosen(situation, intent, rule, slots, with_frame(situation, intent, rule, slots))
    ask = forms.missing(situation.bot, rule, {slot.name: slot.value for slot in slots})
    return chosen.carried_out() if ask is None else chosen.asking(ask, intent)


def start(situation: Situation, rule: IntentRule, arguments: Mapping[str, object]) -> Plan:
    """Carries out a trigger's rule."""
    return Chosen(situation, None, rule, (), with_frame(situation, None, rule, ()), arguments).carried_out()


class Chosen(Struct, frozen=True):
    """A rule, and what it is carried out with. `dialogue` is how the dialogue stands after it."""

    situation: Situation
    intent: str | None
    rule: IntentRule
    slots: tuple[UsedSlot, ...]
    dialogue: Dialogue
    arguments: Mapping[str, object] = {}

    @property
    def values(self) -> dict[str, object]:
        """What the rule's templates know."""
        return {**self.arguments, **{slot.name: slot.value for slot in self.slots}}

    def asking(self, ask: Ask, intent: str) -> Plan:
        useless = any(slot.name == ask.slot and not slot.carried for slot in self.slots)
        phrase = ask.invalid if useless and ask.invalid else ask.prompt
        question = Question(kind=QuestionKind.SLOT, intent=intent, slot=ask.slot, options=ask.choices)
        asking = self._plan(replace(self.dialogue, question=question))
        return replace(asking, name=f"ask:{ask.slot}", text=self.situation.rendered(phrase, self.values))

    def carried_out(self) -> Plan:
        """The rule's reply, and the question of a form that it interrupted."""
        bot, dialogue, suffix = self.situation.bot, self.dialogue, ""
        for frame in reversed(dialogue.frames):
            rule = bot.intents.get(frame.intent)
            ask = forms.missing(bot, rule, frame.slots) if rule else None
            if ask is not None and not self.rule.handoff:
                asked = Question(kind=QuestionKind.SLOT, intent=frame.intent, slot=ask.slot, options=ask.choices)
                dialogue = replace(dialogue, question=asked)
                suffix = self.situation.rendered(ask.prompt, frame.slots)
                break
        values = self.values
        calls = tuple(
            CallDraft(
                call,
                call.url.render(values),
                {name: template.render(values) for name, template in call.parameters.items()},
            )
            for call in self.rule.calls
        )
        return replace(self._plan(dialogue), rule=self.rule, suffix=suffix, calls=calls)

    def _plan(self, dialogue: Dialogue) -> Plan:
        heard = self.situation.heard
        return Plan(name="", heard=heard, dialogue=dialogue, intent=self.intent, slots=self.slots, values=self.values)
