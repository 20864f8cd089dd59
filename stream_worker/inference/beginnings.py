"""Keys and values that outlive their request, so that a prompt is computed from where it is new.

Two kinds of beginnings are kept, as tables of blocks: a conversation's last
prompt with the reply that was sampled after it, and what all conversations of
a bot begin with. Conversations whose partition was released go first, then
what was used longest ago; where there is a host tier, a conversation moves
there before it is dropped.

Device thread only. What always holds: a beginning serves only requests of its
own scope (tenant, model, template, bot and version), and only as far as their
ids are the same; a conversation that is forgotten has none.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from stream_worker.inference.blocks import BlockPool, blocks_for
from stream_worker.inference.segments import BLOCK_TOKENS

Key = tuple[str, str]


_NO_PARTITION = -1
"""Of what all conversations of a bot begin with."""

Copy = Callable[[int, int, int], None]
"""Makes a block (the second) begin with so many tokens (the third) of another (the first)."""


class HostTier(Protocol):
    """Keeps blocks outside of the device's memory."""

    def save(self, blocks: Sequence[int]) -> Any:
        """A copy of the blocks; what it is concerns nobody else."""
        ...

    def load(self, saved: Any, blocks: Sequence[int]) -> None:
        """Writes a copy back, into other blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """A second tier of `blocks` blocks."""

    tier: HostTier
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What is there of a prompt already. The references to `blocks` are the taker's from now on.

    A block that is not filled is the taker's alone, to write on.
    """

    tokens: int = 0
    replied: int = 0
    """How many of the tokens were sampled in the conversation's last turn."""
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """How many leading ids of a prompt are kept, in any tier and on the device; and what must stay for it."""

    tokens: int
    here: int
    keys: frozenset[Key]


@dataclass(frozen=True, slots=True)
class _Beginning:
    scope: str
    ids: tuple[int, ...]
    blocks: tuple[int, ...]
    prompt: int
    """Ids of the prompt; those after them were sampled."""
    partition: int = _NO_PARTITION
    is_released: bool = False
    saved: Any = None
    """The blocks in the host tier; then there are none on the device."""

    def shared(self, scope: str, ids: Sequence[int]) -> int:
        """How many leading ids of a request it serves."""
        if scope != self.scope:
            return 0
        most = min(len(ids), len(self.ids))
        if self.ids[:most] == tuple(ids[:most]):
            return most
        return next(at for at in range(most) if ids[at] != self.ids[at])


class Beginnings:
    """What is kept in a pool's blocks. `evictions` counts by tier: those that left the device, and the host."""

    def __init__(self, pool: BlockPool, copy: Copy, host: Host | None = None) -> None:
        self._pool = pool
        self._copy = copy
        self._host = host
        # First in line for eviction first. A bot's common beginning has a key that is no conversation's.
        self._kept: OrderedDict[Key, _Beginning] = OrderedDict()
        self._away: OrderedDict[Key, _Beginning] = OrderedDict()
        self._away_blocks = 0
        self.device_evictions = 0
        self.host_evictions = 0

    @property
    def tokens(self) -> int:
        return sum(len(beginning.ids) for beginning in self._kept.values())

    @property
    def host_tokens(self) -> int:
        return sum(len(beginning.ids) for beginning in self._away.values())

    def has_common(self, scope: str, ids: Sequence[int]) -> bool:
        """Whether the scope's common beginning is kept and is `ids`."""
        kept = self._kept.get(_common(scope))
        return kept is not None and kept.ids == tuple(ids)

    def known(self, scope: str, conversation: str, ids: Sequence[int]) -> "Known":
        """What `take` would find now."""
        keys = frozenset({_own(conversation), _common(scope)})
        here = [self._kept[key].shared(scope, ids) for key in keys if key in self._kept]
        away = [self._away[key].shared(scope, ids) for key in keys if key in self._away]
        most = len(ids) - 1
        return Known(tokens=min(most, max([0, *here, *away])), here=min(most, max([0, *here])), keys=keys)

    def evictable(self, keeping: frozenset[Key] = frozenset()) -> int:
        """Blocks that would be free without all beginnings but those under `keeping`."""
        counts: Counter[int] = Counter()
        for key, beginning in self._kept.items():
            if key not in keeping:
                counts.update(beginning.blocks)
        return sum(self._pool.references(block) == count for block, count in counts.items())

    def make_room(self, blocks: int, keeping: frozenset[Key] = frozenset()) -> bool:
        """Evicts until `blocks` are free; false when that cannot be, with all that may go gone."""
        for key in [key for key in self._kept if key not in keeping]:
            if self._pool.free >= blocks:
                break
            self._evict(key)
        return self._pool.free >= blocks

    def take(self, scope: str, conversation: str, ids: Sequence[int]) -> Match:
        """The longest kept beginning of a prompt, shorter than the prompt: the last id is always computed.

        A conversation's own beginning leaves the cache: the turn that takes it will leave a longer one.
        """
        self._bring_back(_own(conversation))
        own = self._kept.pop(_own(conversation), None)
        common = self._kept.get(_common(scope))
        if common is not None:
            self._kept.move_to_end(_common(scope))
        lengths = [0 if one is None else min(one.shared(scope, ids), len(ids) - 1) for one in (own, common)]
        match = Match()
        if own is not None and lengths[0] >= max(1, lengths[1]):
            match = Match(
                tokens=lengths[0], replied=max(0, lengths[0] - own.prompt), blocks=self._handed_on(own, lengths[0])
            )
        elif common is not None and lengths[1] > 0:
            match = Match(tokens=lengths[1], blocks=self._shared(common.blocks, lengths[1]))
        if own is not None:
            self._pool.give(own.blocks)
        return match

    def keep(
        self,
        scope: str,
        conversation: str,
        ids: tuple[int, ...],
        blocks: Sequence[int],
        *,
        prompt: int,
        partition: int,
    ) -> None:
        """What a conversation's turn leaves. The references to its blocks are the cache's from now on."""
        used = blocks_for(len(ids))
        self._pool.give(blocks[used:])
        self._drop(_own(conversation))
        if ids:
            self._kept[_own(conversation)] = _Beginning(scope, ids, tuple(blocks[:used]), prompt, partition)

    def keep_common(self, scope: str, ids: tuple[int, ...], blocks: Sequence[int]) -> None:
        """What a scope's prompts begin with, out of the blocks of one of them, which goes on using them.

        Nothing is kept while there is no block to copy the last tokens into.
        """
        if ids and not self.has_common(scope, ids) and self._pool.free:
            self._drop(_common(scope))
            self._kept[_common(scope)] = _Beginning(scope, ids, self._shared(blocks, len(ids)), len(ids))

    def forget(self, conversation: str) -> None:
        """Frees what is kept of a conversation, in every tier."""
        self._drop(_own(conversation))

    def release(self, partition: int) -> None:
        """Puts a partition's conversations first in line for eviction, in their order."""
        for tier in (self._kept, self._away):
            for key in [key for key in reversed(tier) if tier[key].partition == partition]:
                tier[key] = replace(tier[key], is_released=True)
                tier.move_to_end(key, last=False)

    def expire(self, partition: int) -> None:
        """Frees what was released of a partition and not used since, in every tier."""
        for tier in (self._kept, self._away):
            for key in [key for key, each in tier.items() if each.is_released and each.partition == partition]:
                self._drop(key)

    def clear(self) -> None:
        for key in [*self._kept, *self._away]:
            self._drop(key)

    def _handed_on(self, own: _Beginning, tokens: int) -> tuple[int, ...]:
        """The blocks of a beginning on its way out; the last one is copied where others share what it is cut in."""
        blocks = own.blocks[: blocks_for(tokens)]
        if tokens % BLOCK_TOKENS and self._pool.references(blocks[-1]) > 1:
            return self._shared(blocks, tokens)
        self._pool.share(blocks)
        return blocks

    def _shared(self, blocks: Sequence[int], tokens: int) -> tuple[int, ...]:
        """A table that begins with `tokens` of another: whole blocks are the same, the rest is a copy."""
        whole, rest = divmod(tokens, BLOCK_TOKENS)
        self._pool.share(blocks[:whole])
        copied = self._pool.take(1) if rest else []
        if rest:
            self._copy(blocks[whole], copied[0], rest)
        return (*blocks[:whole], *copied)

    def _evict(self, key: Key) -> None:
        """To the host tier, if there is one and it is a conversation; else for good."""
        beginning = self._kept.pop(key)
        self.device_evictions += 1
        if self._host is not None and key[0] == "conversation" and len(beginning.blocks) <= self._host.blocks:
            while self._away_blocks + len(beginning.blocks) > self._host.blocks:
                self._drop(next(iter(self._away)))
                self.host_evictions += 1
            saved = self._host.tier.save(beginning.blocks)
            self._away[key] = replace(beginning, saved=saved)
            self._away_blocks += len(beginning.blocks)
        self._pool.give(beginning.blocks)

    def _bring_back(self, key: Key) -> None:
        """From the host tier into free blocks, if so many are free."""
        beginning = self._away.get(key)
        if beginning is None or self._host is None or len(beginning.blocks) > self._pool.free:
            return
        blocks = tuple(self._pool.take(len(beginning.blocks)))
        self._host.tier.load(beginning.saved, blocks)
        self._drop(key)
        self._kept[key] = replace(beginning, blocks=blocks, saved=None)

    def _drop(self, key: Key) -> None:
        if (beginning := self._kept.pop(key, None)) is not None:
            self._pool.give(beginning.blocks)
        if (beginning := self._away.pop(key, None)) is not None:
            self._away_blocks -= len(beginning.blocks)


def _own(conversation: str) -> Key:
    return ("conversation", conversation)


def _common(scope: str) -> Key:
    return ("scope", scope)
