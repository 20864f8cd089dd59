"""Which bot answers: a table of (tenant, channel), the first that fits."""

from dataclasses import dataclass

from stream_worker.bot.bot import Bot

ANY = "*"


@dataclass(frozen=True, slots=True)
class Binding:
    tenant: str
    channel: str
    bot: Bot

    def fits(self, tenant: str, channel: str) -> bool:
        return self.tenant in (ANY, tenant) and self.channel in (ANY, channel)


class Bots:
    """All bots of a worker. Answers are remembered, as (tenant, channel) pairs are few."""

    def __init__(self, bindings: tuple[Binding, ...]) -> None:
        self._bindings = bindings
        self._found: dict[tuple[str, str], Bot | None] = {}

    @property
    def all(self) -> tuple[Bot, ...]:
        """Every bot once."""
        return tuple({binding.bot.name: binding.bot for binding in self._bindings}.values())

    def replace(self, bindings: tuple[Binding, ...]) -> None:
        """From now on these answer; turns that run end with the bot that they began with."""
        self._bindings = bindings
        self._found.clear()

    def find(self, tenant: str, channel: str) -> Bot | None:
        pair = (tenant, channel)
        if pair not in self._found:
            if len(self._found) >= _REMEMBERED_PAIRS:
                self._found.clear()
            self._found[pair] = next((binding.bot for binding in self._bindings if binding.fits(tenant, channel)), None)
        return self._found[pair]


_REMEMBERED_PAIRS = 10_000
