"""Understands texts in micro-batches, on the device thread: one encoder pass, then each order's heads."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.evidence import EvidenceMethod, explain
from stream_worker.inference.heads import Heads, Understanding
from stream_worker.inference.heads_files import encoder_name_of, load_heads
from stream_worker.inference.sentiment import Lexicons
from stream_worker.inference.text_encoder import Read, TextEncoder, load_text_encoder
from stream_worker.orders import Encode, Encoded, Failed, Fault, Result
from stream_worker.outcome import DeadLetterReason

AUTO = "auto"
"""The encoder that the heads were trained on."""


class HeadsEncoder:
    """An `Encoder`. `heads` are by the folder that orders name them with; `evidence`: None for none."""

    def __init__(self, heads: Mapping[str, Heads], evidence: EvidenceMethod | None = None) -> None:
        self._heads = heads
        self._evidence = evidence
        self._lexicons = Lexicons()

    def encode(self, orders: list[Encode]) -> list[Result]:
        """One pass for all orders of one encoder, tuned or not; those whose heads are not known fail alone."""
        started = time.monotonic()
        known = [index for index, order in enumerate(orders) if order.heads in self._heads]
        reads: dict[int, Read] = {}
        for indices in self._by_encoder(orders, known):
            encoder = self._heads[orders[indices[0]].heads].encoder
            reads.update(zip(indices, encoder.read([orders[index].text for index in indices]), strict=True))
        answers = self._answers(orders, reads)
        encoded = {index: self._encoded(orders[index], reads[index], answer) for index, answer in answers.items()}
        seconds = time.monotonic() - started
        return [
            replace(encoded[index], batch_size=len(known), seconds=seconds)
            if index in encoded
            else _unknown_heads(order)
            for index, order in enumerate(orders)
        ]

    def _by_encoder(self, orders: list[Encode], known: list[int]) -> Iterable[list[int]]:
        """Bots whose heads left the encoder as it was share its pass."""
        shared: dict[int, list[int]] = {}
        for index in known:
            shared.setdefault(id(self._heads[orders[index].heads].encoder), []).append(index)
        return shared.values()

    def _answers(self, orders: list[Encode], reads: Mapping[int, Read]) -> dict[int, Understanding]:
        by_heads: dict[str, list[int]] = {}
        for index in reads:
            by_heads.setdefault(orders[index].heads, []).append(index)
        return {
            index: answer
            for name, own in by_heads.items()
            for index, answer in zip(own, self._heads[name].judge([reads[index] for index in own]), strict=True)
        }

    def _encoded(self, order: Encode, read: Read, answer: Understanding) -> Encoded:
        return Encoded(
            ref=order.ref,
            intents=answer.intents,
            in_scope=answer.in_scope,
            scope=answer.scope,
            slots=answer.slots,
            batch_size=0,
            seconds=0.0,
            sentiment=answer.sentiment or self._lexicons.judge(order.text, order.language),
            evidence=explain(self._heads[order.heads], read, answer, self._evidence) if self._evidence else (),
        )


def load_encoder(
    name: str, intents: Mapping[str, Collection[str]], max_tokens: int, evidence: EvidenceMethod | None = None
) -> HeadsEncoder:
    """All heads, each on its encoder, loaded; `name`: `auto`, or the encoder that all must have been trained on.

    `intents` are those that bots name, by the folder of their heads. Raises Missing or Misconfigured, also where heads
    were not trained for an intent.
    """
    encoders: dict[str, TextEncoder] = {}
    heads: dict[str, Heads] = {}
    for folder, named in intents.items():
        own = encoder_name_of(Path(folder)) if name == AUTO else name
        if own not in encoders:
            encoders[own] = load_text_encoder(own, max_tokens)
        heads[folder] = load_heads(Path(folder), encoders[own])
        _check_intents(folder, named, heads[folder].card.intents)
    return HeadsEncoder(heads, evidence)


def _check_intents(folder: str, named: Collection[str], trained: Sequence[str]) -> None:
    if unknown := sorted(set(named) - set(trained)):
        raise Misconfigured(
            Code.HEADS_UNSUITABLE,
            f"a bot names intents that {folder} was not trained for: {', '.join(unknown)}; it knows "
            f"{', '.join(trained)}. Run `stream-worker nlu train` with examples of them, or leave them out",
        )


def _unknown_heads(order: Encode) -> Failed:
    return Failed(
        ref=order.ref,
        fault=Fault.EVENT,
        reason=DeadLetterReason.ATTEMPTS_EXHAUSTED,
        message=f"no understanding is loaded for {order.heads}; restart the worker with the bot that names it",
    )
