"""What can be told of a model by its files, without loading it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES_OF = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """`parameters` counts numbers; `cache_numbers_per_token` those that a token adds to the cache; `absent` files that
    the index of the weights names and the folder lacks."""

    parameters: int
    cache_numbers_per_token: int
    max_context_tokens: int
    has_chat_template: bool
    absent: tuple[str, ...]


def model_facts(folder: Path) -> ModelFacts:
    """Of a folder with config and safetensors. Raises ValueError for files that are damaged."""
    config = _json(folder / "config.json")
    text = config.get("text_config", config)
    heads = int(text.get("num_attention_heads") or text.get("n_head") or 1)
    hidden = int(text.get("hidden_size") or text.get("n_embd") or 0)
    layers = int(text.get("num_hidden_layers") or text.get("n_layer") or 0)
    width = int(text.get("head_dim") or hidden // heads)
    files = sorted(folder.glob("*.safetensors"))
    return ModelFacts(
        parameters=sum(map(_parameters, files)),
        cache_numbers_per_token=2 * layers * int(text.get("num_key_value_heads") or heads) * width,
        max_context_tokens=int(text.get("max_position_embeddings") or text.get("n_positions") or 0),
        has_chat_template=(folder / "chat_template.jinja").is_file()
        or "chat_template" in _json(folder / "tokenizer_config.json"),
        absent=tuple(sorted(_named(folder) - {file.name for file in files})),
    )


def _named(folder: Path) -> set[str]:
    index = _json(folder / "model.safetensors.index.json")
    return set(index.get("weight_map", {}).values())


def _parameters(file: Path) -> int:
    """By the table at the head of a safetensors file."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = file.stat().st_size
        if length > size:
            raise ValueError(f"{file.name} is cut off")
        table = json.loads(opened.read(length))
    entries = [entry for name, entry in table.items() if name != "__metadata__"]
    if entries and max(entry["data_offsets"][1] for entry in entries) + 8 + length > size:
        raise ValueError(f"{file.name} is cut off")
    return sum((entry["data_offsets"][1] - entry["data_offsets"][0]) // _BYTES_OF[entry["dtype"]] for entry in entries)


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
