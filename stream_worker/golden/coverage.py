"""Which parts of a bot its golden conversations have come by. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream_worker.bot.bot import Bot
from stream_worker.golden.play import Played


@dataclass(frozen=True, slots=True)
class Covered:
    """One kind of part, such as intents: what was seen of it, and what was not."""

    kind: str
    seen: tuple[str, ...]
    missed: tuple[str, ...]

    def line(self) -> str:
        missed = f"  not: {', '.join(self.missed)}" if self.missed else ""
        return f"{self.kind} {len(self.seen)}/{len(self.seen) + len(self.missed)}{missed}"


def coverage(bots: Iterable[Bot], played: Iterable[Played]) -> list[Covered]:
    """Intents, slots, actions and questions (rules) of all bots."""
    looks = [look.seen for each in played for look in each.looks]
    intents = {str(analysis["intent"]) for seen in looks for analysis in seen.analyses}
    slots = {slot["name"] for seen in looks for analysis in seen.analyses for slot in analysis["slots"]}
    actions = {name for seen in looks for name, _ in seen.actions}
    decisions = {part for seen in looks for analysis in seen.analyses for part in analysis["decision"].split("+")}
    bots = list(bots)
    rules = [rule for bot in bots for rule in bot.rules]
    known = {
        "intents": {name for bot in bots for name in bot.intents},
        "slots": {name for rule in rules for name in rule.slots},
        "actions": {
            *(emit.command for rule in rules for emit in rule.emit),
            *(call.name for rule in rules for call in rule.calls),
        },
        "rules": set(_rules(bots)),
    }
    seen = {"intents": intents, "slots": slots, "actions": actions, "rules": decisions}
    return [
        Covered(kind, tuple(sorted(names & seen[kind])), tuple(sorted(names - seen[kind])))
        for kind, names in known.items()
        if names
    ]


def _rules(bots: Iterable[Bot]) -> Iterator[str]:
    for bot in bots:
        for rule in bot.rules:
            yield from (f"ask:{ask.slot}" for ask in rule.ask)
            yield from ("handoff",) if rule.handoff else ()
        yield from ("clarify",) if bot.fallback.clarify else ()
        yield from ("rephrase",) if bot.fallback.rephrase else ()
        yield from ("fallbacks",) if bot.fallback.handoff_after else ()
