"""An encoder that remembers what it understood, so that a conversation that was tested before needs no model.

What was understood depends on the heads and the text alone: it is kept under
a hash of the heads' files, and can be deleted at any time.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import msgspec

from stream_worker import __version__
from stream_worker.inference.stepper import Encoder
from stream_worker.orders import Encode, Encoded, Result, TurnRef

_NOBODY = TurnRef(0, 0, "", 0)


class RememberingEncoder:
    """An `Encoder` over one that is loaded when a text is new. `save` keeps what is known now."""

    def __init__(self, heads: Path, encoder: str, folder: Path, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._file = folder / f"{_hash_of(heads, encoder)}.json"
        self._known = _read(self._file)
        self._new = False

    def encode(self, orders: list[Encode]) -> list[Result]:
        unknown = [order for order in orders if order.text not in self._known]
        if unknown:
            self._understand(unknown)
        return [_addressed(self._known[order.text], order) for order in orders]

    def save(self) -> None:
        if self._new:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(msgspec.json.encode(self._known))
            self._new = False

    def _understand(self, orders: list[Encode]) -> None:
        if self._loaded is None:
            self._loaded = self._load()
        for order, result in zip(orders, self._loaded.encode(orders), strict=True):
            if not isinstance(result, Encoded):
                raise RuntimeError(f"a text of a golden conversation was not understood: {result}")
            self._known[order.text] = _addressed(result, None)
            self._new = True


def _addressed(result: Encoded, order: Encode | None) -> Encoded:
    return replace(result, ref=order.ref if order else _NOBODY, seconds=0.0, batch_size=1)


def _read(file: Path) -> dict[str, Encoded]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Encoded])
    except (OSError, msgspec.DecodeError):
        return {}


def _hash_of(heads: Path, encoder: str) -> str:
    digest = blake2b(f"{__version__}\0{encoder}".encode(), digest_size=12)
    for file in sorted(heads.rglob("*")):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
