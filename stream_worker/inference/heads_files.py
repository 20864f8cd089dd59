"""Heads on disk: `heads.safetensors` and `heads.json` in one folder, always of one training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.heads import Card, Heads, Weights
from stream_worker.inference.heads_format import HEADS_FORMAT
from stream_worker.inference.nearest import Balance
from stream_worker.inference.slot_layers import SlotLayers
from stream_worker.inference.text_encoder import TextEncoder

_WEIGHTS = "heads.safetensors"
_CARD = "heads.json"
_HASH = "weights_hash"
_PLAIN = tuple(field.name for field in fields(Weights) if field.name != "slots")


def save_heads(heads: Heads, folder: Path) -> None:
    """Writes both files; an existing folder's heads are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(heads.weights, name).contiguous() for name in _PLAIN}
    tensors.update((f"slots.{name}", value.contiguous()) for name, value in heads.weights.slots._asdict().items())
    for number, layer in enumerate(heads.layers):
        # Half the size, and the numbers that serving computes with anyway.
        tensors.update((f"layers.{number}.{name}", value.bfloat16().contiguous()) for name, value in layer.items())
    weights = save(tensors)
    card = {"format": HEADS_FORMAT, **asdict(heads.card), _HASH: _hash(weights)}
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / _CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def load_heads(folder: Path, encoder: TextEncoder) -> Heads:
    """The heads of a folder, on this encoder.

    Raises Missing when there are none, Misconfigured when they do not fit.
    """
    card, weights = _read(folder)
    if not isinstance(card, dict) or card.pop("format", None) != HEADS_FORMAT:
        raise _unsuitable(folder, f"is not of format {HEADS_FORMAT}, which this version reads")
    # Written one after the other, so a training that was killed may leave one of each.
    if card.pop(_HASH, None) != _hash(weights) or set(card) != {field.name for field in fields(Card)}:
        raise _unsuitable(folder, f"has a {_CARD} and a {_WEIGHTS} that do not belong together")
    if card["encoder"] != encoder.version:
        raise _unsuitable(folder, f"was trained on the encoder {card['encoder']}, not on {encoder.version}")
    tensors = load(weights)
    layers = _layers(tensors, card["tuned_layers"])
    slots = SlotLayers(**{name: tensors[f"slots.{name}"] for name in SlotLayers._fields})
    own = Weights(slots=slots, **{name: tensors[name] for name in _PLAIN})
    return Heads(_card(card), own, layers, encoder.tuned(layers) if layers else encoder)


def encoder_name_of(folder: Path) -> str:
    """The name of the encoder that a folder's heads were trained on. Raises Missing when there are none."""
    card, _ = _read(folder)
    if not isinstance(card, dict) or card.get("format") != HEADS_FORMAT:
        raise _unsuitable(folder, f"is not of format {HEADS_FORMAT}, which this version reads")
    return str(card["encoder_name"])


def _read(folder: Path) -> tuple[Any, bytes]:
    try:
        return json.loads((folder / _CARD).read_text(encoding="utf-8")), (folder / _WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise Missing(
            Code.HEADS_NOT_FOUND,
            f"no trained understanding in {folder}; make it with: stream-worker nlu train EXAMPLES -o {folder}",
        ) from error
    except (OSError, ValueError) as error:
        raise _unsuitable(folder, f"cannot be read ({error})") from error


def _layers(tensors: Mapping[str, Tensor], count: int) -> tuple[dict[str, Tensor], ...]:
    prefixes = [f"layers.{number}." for number in range(count)]
    return tuple(
        {name[len(prefix) :]: value.to(torch.float32) for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in prefixes
    )


def _card(given: dict[str, Any]) -> Card:
    """JSON knows no tuples."""
    for name in ("intents", "slot_labels", "unmarked", "sentiments"):
        given[name] = tuple(given[name])
    for name in ("lookups", "regexes"):
        given[name] = {key: tuple(values) for key, values in given[name].items()}
    return Card(**{**given, "balance": Balance(**given["balance"])})


def _hash(weights: bytes) -> str:
    return blake2b(weights, digest_size=8).hexdigest()


def _unsuitable(folder: Path, what: str) -> Misconfigured:
    return Misconfigured(
        Code.HEADS_UNSUITABLE,
        f"the trained understanding in {folder} {what}; train again: stream-worker nlu train EXAMPLES -o {folder}",
    )
