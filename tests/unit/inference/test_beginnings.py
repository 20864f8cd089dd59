"""A rule machine over kept beginnings next to a model of ten lines: which ids does each block of a table hold?"""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream_worker.inference.beginnings import Beginnings, Host
from stream_worker.inference.blocks import BlockPool, blocks_for
from stream_worker.inference.segments import BLOCK_TOKENS

_NAMES = ("c-1", "c-2", "c-3")
names = st.sampled_from(_NAMES)
partitions = st.sampled_from([0, 1])
scopes = st.sampled_from(["one", "two"])
#: Prompts that begin alike: so many of the same ids, and a last one that tells them apart.
prompts = st.builds(lambda length, last: (*(7,) * length, last), st.integers(1, 200), st.integers(0, 3))


def _partition(name: str) -> int:
    return int(name == "c-3")


class KeptBeginnings(RuleBasedStateMachine):
    """Blocks hold the ids written to them, as keys and values would be; a served table must hold the prompt's."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(12)
        self.written: dict[int, list[int]] = {}
        self.beginnings = Beginnings(self.pool, self.copy, Host(self, blocks=4))
        self.running: dict[str, tuple[str, tuple[int, ...], list[int]]] = {}
        self.released: set[str] = set()

    def copy(self, source: int, target: int, tokens: int) -> None:
        self.written[target] = self.written[source][:tokens]

    def save(self, blocks: Sequence[int]) -> list[list[int]]:
        return [list(self.written[block]) for block in blocks]

    def load(self, saved: list[list[int]], blocks: Sequence[int]) -> None:
        self.written |= dict(zip(blocks, map(list, saved), strict=True))

    @rule(name=names, scope=scopes, prompt=prompts, common=st.integers(0, 90))
    def start(self, name: str, scope: str, prompt: tuple[int, ...], common: int) -> None:
        if name in self.running:
            return
        known = self.beginnings.known(scope, name, prompt)
        need = blocks_for(len(prompt)) + 1 - known.here // BLOCK_TOKENS
        if need > self.pool.free + self.beginnings.evictable(known.keys):
            assert not self.beginnings.make_room(need, known.keys)
            return
        assert self.beginnings.make_room(need, known.keys)
        match = self.beginnings.take(scope, name, prompt)
        self.released.discard(name)
        assert match.tokens < len(prompt)
        assert known.here <= match.tokens <= known.tokens
        held = [id_ for block in match.blocks for id_ in self.written[block]][: match.tokens]
        assert tuple(held) == prompt[: match.tokens]
        if match.tokens % BLOCK_TOKENS:
            assert self.pool.references(match.blocks[-1]) == 1, "a block that is written on is shared"
        table = [*match.blocks, *self.pool.take(blocks_for(len(prompt)) - len(match.blocks))]
        for at, id_ in enumerate(prompt[match.tokens :], match.tokens):
            self.written[table[at // BLOCK_TOKENS]] = [
                *self.written.get(table[at // BLOCK_TOKENS], [])[: at % BLOCK_TOKENS],
                id_,
            ]
        self.beginnings.keep_common(scope, prompt[: min(common, len(prompt))], table)
        self.running[name] = (scope, prompt, table)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), keeps=st.booleans())
    def end(self, data: st.DataObject, keeps: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        scope, prompt, table = self.running.pop(name)
        if keeps:
            self.beginnings.keep(scope, name, prompt, table, prompt=len(prompt) // 2, partition=_partition(name))
            self.released.discard(name)
        else:
            self.pool.give(table)

    @rule(name=names)
    def forget(self, name: str) -> None:
        self.beginnings.forget(name)
        self.is_gone(name)

    @rule(partition=partitions)
    def release(self, partition: int) -> None:
        self.beginnings.release(partition)
        self.released |= {name for name in _NAMES if _partition(name) == partition}

    @rule(partition=partitions)
    def expire(self, partition: int) -> None:
        kept = [name for name in _NAMES if name not in self.released or _partition(name) != partition]
        before = [self.known(name) for name in kept]
        self.beginnings.expire(partition)
        assert [self.known(name) for name in kept] == before, "what was used again stays"
        for name in set(_NAMES) - set(kept):
            self.is_gone(name)

    def known(self, name: str) -> list[int]:
        return [self.beginnings.known(scope, name, (7,) * 200).tokens for scope in ("one", "two")]

    def is_gone(self, name: str) -> None:
        assert self.known(name) == self.known("nobody")

    @invariant()
    def every_block_is_counted(self) -> None:
        used = {block for _, _, table in self.running.values() for block in table}
        assert self.pool.free + self.beginnings.evictable() + len(used) == self.pool.size
        assert self.beginnings.host_tokens <= 4 * BLOCK_TOKENS


KeptBeginnings.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestKeptBeginnings = KeptBeginnings.TestCase
