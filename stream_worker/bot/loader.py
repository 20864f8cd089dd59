"""Reads bot files: each validated whole, refused with file, line, column and what to do."""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import orjson

from stream_worker.bot.bot import (
    Ask,
    Bot,
    Emit,
    Fallback,
    HandoffRules,
    HttpCall,
    IntentRule,
    ModelReply,
    Offer,
    Remind,
    Slot,
    TemplateReply,
)
from stream_worker.bot.bots import Binding, Bots
from stream_worker.bot.document import Document, Place
from stream_worker.bot.entities import Entity, EntityKind, expression_error, is_time_zone
from stream_worker.bot.file import (
    AskFile,
    BotFile,
    CallFile,
    IntentFile,
    JsonFile,
    OfferFile,
    TemplateFile,
    TurnTakingFile,
)
from stream_worker.bot.phrase import Phrase, Template
from stream_worker.bot.templates import Compiler
from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import Settings
from stream_worker.settings.engine import SamplingSettings
from stream_worker.turn_taking import TurnTaking


def load_bots(settings: Settings) -> Bots:
    """The bots of the settings. Raises Misconfigured when there is none, or a file is wrong."""
    return Bots(load_bindings(settings))


def load_bindings(settings: Settings) -> tuple[Binding, ...]:
    """Which bot answers whom, each file read once. Raises Misconfigured."""
    if not settings.bots:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE, "no bot is configured: add `bots: [{file: bot.yaml}]` to the configuration"
        )
    loaded: dict[Path, Bot] = {}
    for binding in settings.bots:
        if binding.file not in loaded:
            loaded[binding.file] = load_bot(binding.file, settings)
    names = [bot.name for bot in loaded.values()]
    if len(set(names)) != len(names):
        raise Misconfigured(Code.BOT_INVALID, f"two bot files have the same name: {', '.join(sorted(names))}")
    return tuple(Binding(each.tenant, each.channel, loaded[each.file]) for each in settings.bots)


def load_bot(path: Path, settings: Settings) -> Bot:
    """The bot of a file. Raises `Misconfigured` with the position of what is wrong."""
    document = Document.read(path)
    return _Reader(document, document.validated(BotFile), settings).bot()


class _Reader:
    """From the file's keys to the bot; complaints name the key's place."""

    def __init__(self, document: Document, file: BotFile, settings: Settings) -> None:
        self._document = document
        self._file = file
        self._settings = settings
        self._compile = Compiler(document)

    def bot(self) -> Bot:
        file = self._file
        self._check_names()
        sampling = file.sampling or self._settings.engine.sampling
        self._check_settings(sampling)
        folder = self._document.path.parent
        return Bot(
            name=file.bot,
            version=file.version or blake2b(self._document.raw, digest_size=6).hexdigest(),
            languages=file.languages,
            system=file.system.strip(),
            understanding=str((folder / file.understanding).resolve()) if file.understanding else None,
            slots={name: Slot(slot.kind, slot.shared, slot.entity, slot.role) for name, slot in file.slots.items()},
            entities=self._entities(),
            time_zone=self._time_zone(),
            region=file.region,
            intents={name: self._rule(intent, ("intents", name)) for name, intent in file.intents.items()},
            fills_slots=file.fills_slots,
            triggers={name: self._rule(rule, ("triggers", name)) for name, rule in file.triggers.items()},
            fallback=self._fallback(),
            handoff=self._handoff(),
            error_reply=file.error_reply,
            expired_reply=self._phrase(file.expired_reply, ("expired_reply",)),
            cancelled=self._phrase(file.cancelled, ("cancelled",)),
            forget_after_s=file.forget_after_s,
            refusals=file.refusals,
            refusal_reply=file.refusal_reply,
            sampling=sampling.sampling(),
            max_messages=file.max_messages,
            facts_tokens=file.facts_tokens,
            turn_taking=_turn_taking(file.turn_taking, self._settings),
            reply_when=file.reply_when,
            names=file.names or (file.bot,),
        )

    def _entities(self) -> tuple[Entity, ...]:
        entities: list[Entity] = []
        for number, given in enumerate(self._file.entities):
            place: Place = ("entities", number)
            if isinstance(given, EntityKind):
                entity = Entity(given.value, given)
            else:
                ((name, expression),) = given.items()
                if wrong := expression_error(expression):
                    raise self._document.complaint((*place, name), f"not a regular expression of RE2: {wrong}")
                entity = Entity(name, expression)
            if any(entity.name == other.name for other in entities):
                raise self._document.complaint(place, f"there are two entities `{entity.name}`")
            entities.append(entity)
        return tuple(entities)

    def _time_zone(self) -> str:
        name = self._file.time_zone
        if not is_time_zone(name):
            raise self._document.complaint(("time_zone",), f"`{name}` is no IANA time zone, such as Europe/Berlin")
        return name

    def _rule(self, intent: IntentFile, place: Place) -> IntentRule:
        asked = tuple(ask.slot for ask in intent.ask)
        rule = IntentRule(
            reply=self._reply(intent.reply, (*place, "reply")),
            label=self._phrase(intent.label, (*place, "label")),
            slots=(*intent.slots, *(name for name in dict.fromkeys(asked) if name not in intent.slots)),
            ask=tuple(self._ask(ask, (*place, "ask", number)) for number, ask in enumerate(intent.ask)),
            calls=tuple(self._call(call, (*place, "call", number)) for number, call in enumerate(intent.call)),
            emit=tuple(
                Emit(
                    emit.command,
                    self._templates(emit.arguments, (*place, "emit", number, "arguments")),
                    self._template(emit.when, (*place, "emit", number, "when")) if emit.when else None,
                )
                for number, emit in enumerate(intent.emit)
            ),
            remind=tuple(
                Remind(
                    remind.trigger,
                    remind.after_s,
                    self._templates(remind.arguments, (*place, "remind", number, "arguments")),
                )
                for number, remind in enumerate(intent.remind)
            ),
            offers=self._offers(intent, (*place, "offer")),
            handoff=intent.handoff,
            keeps_intent=intent.keeps_intent,
        )
        self._compile.try_all(rule.templates(), rule.slots, place)
        return rule

    def _offers(self, intent: IntentFile, place: Place) -> tuple[Offer, ...]:
        if isinstance(intent.offer, OfferFile):
            return (Offer(intent.offer.slot, self._template(intent.offer.values, (*place, "values"))),)
        return tuple(
            Offer(offer.slot, self._template(offer.values, (*place, number, "values")))
            for number, offer in enumerate(intent.offer)
        )

    def _reply(self, reply: str | JsonFile | TemplateFile, place: Place) -> ModelReply | TemplateReply:
        match reply:
            case TemplateFile(template=texts):
                phrase = self._phrase(texts, (*place, "template"))
                assert phrase is not None
                return TemplateReply(phrase)
            case JsonFile(json_schema=name):
                return ModelReply(self._json_schema(name, (*place, "json_schema")))
            case _:
                return ModelReply()

    def _json_schema(self, name: str, place: Place) -> str:
        file = self._document.path.parent / name
        try:
            schema = orjson.loads(file.read_bytes())
        except OSError as error:
            raise self._document.complaint(place, f"cannot read {file}: {error.strerror}") from error
        except orjson.JSONDecodeError as error:
            raise self._document.complaint(place, f"{file}: not JSON: {error}") from error
        if not isinstance(schema, dict):
            raise self._document.complaint(place, f"{file}: a JSON schema is an object")
        return orjson.dumps(schema).decode()

    def _ask(self, ask: AskFile, place: Place) -> Ask:
        prompt = self._phrase(ask.prompt, (*place, "prompt"))
        assert prompt is not None
        try:
            pattern = re.compile(ask.pattern) if ask.pattern else None
        except re.error as error:
            raise self._document.complaint((*place, "pattern"), f"not a regular expression: {error}") from error
        return Ask(
            slot=ask.slot,
            prompt=prompt,
            invalid=self._phrase(ask.invalid, (*place, "invalid")),
            pattern=pattern,
            choices=ask.choices,
            least=ask.min,
            most=ask.max,
            from_text=ask.from_text,
            tries=ask.tries,
        )

    def _call(self, call: CallFile, place: Place) -> HttpCall:
        return HttpCall(
            name=call.name,
            url=self._template(call.url, (*place, "url")),
            parameters=self._templates(call.parameters, (*place, "parameters")),
            headers=call.headers,
            timeout_ms=call.timeout_ms,
            retries=call.retries,
            take=self._templates(call.take, (*place, "take")),
            error=self._phrase(call.error, (*place, "error")),
        )

    def _fallback(self) -> Fallback:
        file = self._file.fallback
        return Fallback(
            rule=self._rule(file, ("fallback",)),
            clarify=self._phrase(file.clarify, ("fallback", "clarify")),
            clarify_within=file.clarify_within,
            rephrase=self._phrase(file.rephrase, ("fallback", "rephrase")),
            handoff_after=file.handoff_after,
        )

    def _handoff(self) -> HandoffRules:
        file = self._file.handoff
        return HandoffRules(
            text=self._phrase(file.text, ("handoff", "text")),
            timeout_s=file.timeout_s,
            complaints=file.complaints,
            complaint_score=file.complaint_score,
            agent_message_takes_over=file.agent_message_takes_over,
        )

    def _phrase(self, texts: Mapping[str, str] | None, place: Place) -> Phrase | None:
        if texts is None:
            return None
        compiled = {
            language: self._template(text, (*place, language) if language else place)
            for language, text in texts.items()
        }
        return Phrase(next(iter(compiled.values())), compiled)

    def _templates(self, sources: Mapping[str, str], place: Place) -> dict[str, Template]:
        return {name: self._template(source, (*place, name)) for name, source in sources.items()}

    def _template(self, source: str, place: Place) -> Template:
        return self._compile.template(source, place)

    def _check_settings(self, sampling: SamplingSettings) -> None:
        """What no message could ever be answered with."""
        settings = self._settings
        if sampling.max_new_tokens >= settings.engine.max_context_tokens:
            raise self._document.complaint(
                ("sampling", "max_new_tokens"),
                f"a reply of {sampling.max_new_tokens} tokens leaves no room for a prompt within "
                f"engine.max_context_tokens ({settings.engine.max_context_tokens})",
            )
        if self._file.understanding and settings.understanding.encoder is None:
            raise self._document.complaint(
                ("understanding",), "there is no encoder to understand with: set understanding.encoder in the settings"
            )

    def _check_names(self) -> None:
        """What refers to another part of the file must find it there."""
        file = self._file
        for place, rule in self._placed_rules():
            for number, remind in enumerate(rule.remind):
                self._require(remind.trigger, file.triggers, (*place, "remind", number, "trigger"), "trigger")
        if file.fallback.clarify and len([intent for intent in file.intents.values() if intent.label]) < 2:
            raise self._document.complaint(
                ("fallback", "clarify"), "the bot can only ask which is meant where intents have a `label`: add some"
            )
        used = {name for _, rule in self._placed_rules() for name in (*rule.slots, *(ask.slot for ask in rule.ask))}
        for name in file.slots:
            self._require(name, sorted(used), ("slots", name), "slot of an intent")

    def _placed_rules(self) -> Iterator[tuple[Place, IntentFile]]:
        file = self._file
        yield ("fallback",), file.fallback
        for section, rules in (("intents", file.intents), ("triggers", file.triggers)):
            for name, rule in rules.items():
                yield (section, name), rule

    def _require(self, name: str, known: Mapping[str, object] | Sequence[str], place: Place, what: str) -> None:
        if name not in known:
            raise self._document.complaint(place, f"there is no {what} `{name}`", name, list(known))


def _turn_taking(file: TurnTakingFile | None, settings: Settings) -> TurnTaking:
    admission = settings.admission
    return TurnTaking(**file.model_dump(), max_chars=admission.max_text_chars) if file else admission.turn_taking
