"""The fast level: a `Runner` whose whole step is one native call."""

from collections.abc import Sequence

from stream_worker.inference.native.build import Words
from stream_worker.inference.native.library import NativeModel, block_bytes
from stream_worker.inference.segments import Next, Segment


class NativeRunner:
    """Implements `Runner`. Each output is summed in one order whatever the batch, so results are exact."""

    def __init__(self, model: NativeModel) -> None:
        self._model = model

    @property
    def level(self) -> str:
        return f"native {Words(self._model.shape.kind).name.lower()}"

    @property
    def is_exact(self) -> bool:
        return True

    @property
    def block_bytes(self) -> int:
        return block_bytes(self._model.shape)

    @property
    def blocks(self) -> int:
        return int(self._model.shape.blocks)

    def run(self, segments: Sequence[Segment]) -> list[Next]:
        return self._model.step(segments)

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        self._model.copy_block(source, target, tokens)
