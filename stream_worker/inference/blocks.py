"""Who uses which block of the cache: a free list and a count of references. Pure.

What always holds: a block is free or has as many references as sequences and
kept beginnings that name it; what is given back last is handed out first.
"""

from collections.abc import Iterable, Sequence

from stream_worker.inference.segments import BLOCK_TOKENS


def blocks_for(tokens: int) -> int:
    """Blocks that `tokens` take."""
    return -(-tokens // BLOCK_TOKENS)


class BlockPool:
    """The blocks of one cache, numbered from 0."""

    def __init__(self, blocks: int) -> None:
        self._references = [0] * blocks
        self._free = list(reversed(range(blocks)))

    @property
    def size(self) -> int:
        return len(self._references)

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` blocks, each with one reference. The caller has seen that so many are free."""
        assert count <= len(self._free), "more blocks are taken than are free"
        taken = [self._free.pop() for _ in range(count)]
        for block in taken:
            self._references[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """One more reference to each."""
        for block in blocks:
            assert self._references[block] > 0, "a free block is shared"
            self._references[block] += 1

    def give(self, blocks: Sequence[int]) -> None:
        """One reference less to each; those without any are free."""
        for block in blocks:
            assert self._references[block] > 0, "a free block is given back"
            self._references[block] -= 1
            if not self._references[block]:
                self._free.append(block)

    def references(self, block: int) -> int:
        return self._references[block]
