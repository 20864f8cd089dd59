"""Keys and values that outlive their request, so that a prompt is computed from where it is new.

Two kinds of beginnings are kept: a conversation's last prompt with the reply
that was sampled after it, and what all conversations of a bot begin with. The
one that was used longest ago goes first.

Device thread only. What always holds: a beginning serves only requests of its
own scope (tenant, bot and version), and only as far as their ids are the same;
a conversation that is forgotten has none.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

Pairs = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, [1, heads, tokens, size of a head]."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    scope: str
    ids: tuple[int, ...]
    pairs: Pairs

    def shared(self, scope: str, ids: Sequence[int]) -> int:
        """How many leading ids of a request it serves."""
        if scope != self.scope:
            return 0
        most = min(len(ids), len(self.ids))
        return next((at for at in range(most) if ids[at] != self.ids[at]), most)


class PrefixCache:
    def __init__(self) -> None:
        # Least recently used first. A bot's common beginning has a key that is no conversation's.
        self._beginnings: OrderedDict[tuple[str, str], _Beginning] = OrderedDict()
        self._tokens = 0

    @property
    def tokens(self) -> int:
        return self._tokens

    def take(self, scope: str, conversation: str, ids: Sequence[int]) -> tuple[DynamicCache, int]:
        """The longest kept beginning of a prompt, and its length, which is less than the prompt's.

        A conversation's own beginning leaves the cache: the turn that takes it will leave a longer one.
        """
        own = self._pop(_own(conversation))
        common = self._beginnings.get(_common(scope))
        best, length = None, 0
        for beginning in (own, common):
            if beginning is not None and (shared := beginning.shared(scope, ids)) > length:
                best, length = beginning, shared
        if common is not None:
            self._beginnings.move_to_end(_common(scope))
        # The last token is always computed: its logits are what the reply begins with.
        length = min(length, len(ids) - 1)
        return (_cache_of(best.pairs, length), length) if best is not None and length else (DynamicCache(), 0)

    def keep(self, scope: str, conversation: str, ids: tuple[int, ...], pairs: Pairs) -> None:
        """What a conversation's turn leaves. The tensors are the cache's from now on."""
        self._put(_own(conversation), _Beginning(scope, ids, pairs))

    def keep_common(self, scope: str, ids: tuple[int, ...], pairs: Pairs) -> None:
        """What a scope's prompts begin with, out of the tensors of one of them."""
        kept = self._beginnings.get(_common(scope))
        if ids and (kept is None or kept.ids != ids):
            own = [(keys[:, :, : len(ids)].clone(), values[:, :, : len(ids)].clone()) for keys, values in pairs]
            self._put(_common(scope), _Beginning(scope, ids, own))

    def forget(self, conversation: str) -> None:
        self._pop(_own(conversation))

    def shrink(self, max_tokens: int) -> None:
        """Gives back what was used longest ago, until no more than `max_tokens` are kept."""
        while self._tokens > max_tokens:
            self._pop(next(iter(self._beginnings)))

    def clear(self) -> None:
        self._beginnings.clear()
        self._tokens = 0

    def _put(self, key: tuple[str, str], beginning: _Beginning) -> None:
        self._pop(key)
        self._beginnings[key] = beginning
        self._tokens += len(beginning.ids)

    def _pop(self, key: tuple[str, str]) -> _Beginning | None:
        beginning = self._beginnings.pop(key, None)
        if beginning is not None:
            self._tokens -= len(beginning.ids)
        return beginning


def _own(conversation: str) -> tuple[str, str]:
    return ("conversation", conversation)


def _common(scope: str) -> tuple[str, str]:
    return ("scope", scope)


def _cache_of(pairs: Pairs, length: int) -> DynamicCache:
    """A cache that begins with the first `length` tokens. Adding to it copies, so the tensors may be shared."""
    cache = DynamicCache()
    for keys, values in pairs:
        layer = DynamicLayer()  # type: ignore[no-untyped-call]  # not typed in transformers
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys[:, :, :length], values[:, :, :length]
        cache.layers.append(layer)
    return cache
