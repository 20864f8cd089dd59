"""Converts a GGUF file into a folder of safetensors, config and tokenizer. Once; the result is kept in the cache."""

import copy
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stream_worker.cache import appearing_whole
from stream_worker.errors import Code, Misconfigured


def convert(gguf: Path, folder: Path) -> None:
    """Makes `folder`, whole or not at all."""
    with appearing_whole(folder) as unfinished:
        _write(gguf, unfinished)


def _write(gguf: Path, folder: Path) -> None:
    try:
        quantized = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(Code.MODEL_UNSUITABLE, f"{gguf} cannot be converted: {error}") from error
    # A model that was read from GGUF refuses to be saved; one of the same shape without that note does not.
    config = copy.deepcopy(quantized.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
