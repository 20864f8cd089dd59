"""Understands texts in micro-batches, on the device thread: one encoder pass, then each order's heads."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.frozen import FrozenEncoder, Read, load_frozen
from stream_worker.inference.heads import Heads, Understanding, load_heads
from stream_worker.orders import Encode, Encoded, Failed, Fault, Result
from stream_worker.outcome import DeadLetterReason


class HeadsEncoder:
    """An `Encoder`. `heads` are by the folder that orders name them with."""

    def __init__(self, frozen: FrozenEncoder, heads: Mapping[str, Heads]) -> None:
        self._frozen = frozen
        self._heads = heads

    def encode(self, orders: list[Encode]) -> list[Result]:
        """One pass over all orders whose heads are known; the others fail alone."""
        started = time.monotonic()
        known = [index for index, order in enumerate(orders) if order.heads in self._heads]
        reads = self._frozen.read([orders[index].text for index in known])
        understood = self._understood(orders, dict(zip(known, reads, strict=True)))
        seconds = time.monotonic() - started
        return [
            _encoded(order, understood[index], len(known), seconds) if index in understood else _unknown_heads(order)
            for index, order in enumerate(orders)
        ]

    def _understood(self, orders: list[Encode], reads: Mapping[int, Read]) -> dict[int, Understanding]:
        by_heads: dict[str, list[int]] = {}
        for index in reads:
            by_heads.setdefault(orders[index].heads, []).append(index)
        understood: dict[int, Understanding] = {}
        for name, indices in by_heads.items():
            texts = [orders[index].text for index in indices]
            answers = self._heads[name].understand(texts, [reads[index] for index in indices])
            understood.update(zip(indices, answers, strict=True))
        return understood


def load_encoder(name: str, intents: Mapping[str, Collection[str]], max_tokens: int) -> HeadsEncoder:
    """The encoder and all heads, loaded; `intents` are those that bots name, by the folder of their heads.

    Raises Missing or Misconfigured, also where heads were not trained for an intent.
    """
    frozen = load_frozen(name, max_tokens)
    heads = {folder: load_heads(Path(folder), frozen.version) for folder in intents}
    for folder, named in intents.items():
        trained = heads[folder].card.intents
        if unknown := sorted(set(named) - set(trained)):
            raise Misconfigured(
                Code.HEADS_UNSUITABLE,
                f"a bot names intents that {folder} was not trained for: {', '.join(unknown)}; it knows "
                f"{', '.join(trained)}. Run `stream-worker nlu train` with examples of them, or leave them out",
            )
    return HeadsEncoder(frozen, heads)


def _encoded(order: Encode, understood: Understanding, batch_size: int, seconds: float) -> Encoded:
    return Encoded(
        ref=order.ref,
        intents=understood.intents,
        in_scope=understood.in_scope,
        scope=understood.scope,
        slots=understood.slots,
        batch_size=batch_size,
        seconds=seconds,
    )


def _unknown_heads(order: Encode) -> Failed:
    return Failed(
        ref=order.ref,
        fault=Fault.EVENT,
        reason=DeadLetterReason.ATTEMPTS_EXHAUSTED,
        message=f"no understanding is loaded for {order.heads}; restart the worker with the bot that names it",
    )
