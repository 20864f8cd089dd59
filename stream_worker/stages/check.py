"""The last look at a reply before it leaves. Pure.

One rule today: a reply that holds a text from the bot's list of refusals is
replaced. Each rule names itself in the analysis.
"""

from dataclasses import dataclass

from stream_worker.bot.bot import Bot


@dataclass(frozen=True, slots=True)
class Passed:
    """The reply may leave as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The reply must not leave; `text` stands for it. `rule` says why."""

    text: str
    rule: str


Verdict = Passed | Replaced


def check(bot: Bot, text: str) -> Verdict:
    """Compares without regard to case, as the list is written by people."""
    folded = text.casefold()
    for number, refusal in enumerate(bot.refusals, start=1):
        if refusal.casefold() in folded:
            return Replaced(bot.refusal_reply, f"refusals[{number}]")
    return Passed(text)
