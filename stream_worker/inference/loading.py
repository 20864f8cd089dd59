"""Loads a model's weights onto a device, and makes the engine that runs it."""

import ctypes
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import structlog
import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from stream_worker.clock import Clock
from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.constraints import JsonSchemas
from stream_worker.inference.gpus import gpu_memory
from stream_worker.inference.levels import choose
from stream_worker.inference.memory import process_memory
from stream_worker.inference.models import ModelFiles
from stream_worker.inference.native.build import fastest_words
from stream_worker.inference.native.reader import Sizes
from stream_worker.inference.tokenizer import ModelTokenizer
from stream_worker.inference.torch_engine import STEP_TOKENS, ModelFacts, TorchStepper
from stream_worker.settings.engine import EngineSettings
from stream_worker.stages.chat_format import ChatFormat

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: Attention whose keys and values are one pair a token, which is what lanes hold.
_ATTENTION_TYPES = {"full_attention", "sliding_attention"}


def pick_device(name: str) -> torch.device:
    """The device of a setting `auto`, `cpu`, `cuda` or `cuda:N`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Missing(
            Code.DEVICE_NOT_FOUND,
            f"device {name!r} is not on this machine ({torch.cuda.device_count()} CUDA devices); set device: cpu",
        )
    return device


def pick_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and on a CPU that multiplies it natively, else float32."""
    if name == "auto":
        has_bfloat16 = device.type == "cuda" or fastest_words(half=True) is not None
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return _DTYPES[name]


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A causal language model, ready to run. Safetensors only; no code of the model's own."""
    disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes a moment; downloads show theirs
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(Code.MODEL_UNSUITABLE, f"the model in {folder} cannot be loaded: {error}") from error
    check_architecture(model, str(folder))
    return model.to(device).eval()


def check_architecture(model: Any, name: str) -> None:
    """Raises Misconfigured for a model whose memory is more than keys and values."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - _ATTENTION_TYPES
    if kinds or getattr(model, "_is_stateful", False):
        raise Misconfigured(
            Code.MODEL_UNSUITABLE,
            f"the model in {name} has layers of kind {', '.join(sorted(kinds)) or 'stateful'}; this engine runs models "
            "with full or sliding attention. Choose another model.",
        )


def torch_stepper(
    files: ModelFiles,
    tokenizer: ModelTokenizer,
    chat_format: ChatFormat,
    settings: EngineSettings,
    device_name: str,
    clock: Clock,
) -> TorchStepper:
    """The engine of the settings, its model loaded and warm. For the device thread, whose threads it sets."""
    threads = settings.threads or _cores()
    torch.set_num_threads(threads)
    device = pick_device(device_name)
    model = load_model(files.folder, device, pick_dtype(settings.dtype, device))
    config = model.config.get_text_config()
    max_context_tokens = min(settings.max_context_tokens, config.max_position_embeddings)
    sizes = Sizes(settings.max_batch + STEP_TOKENS, max_context_tokens, settings.kv_cache_bytes, threads)
    chosen = choose(model, settings.level, sizes, settings.kv_host_bytes)
    structlog.get_logger().info(
        "model loaded", model=files.version, level=chosen.runner.level, dtype=str(model.dtype).removeprefix("torch.")
    )
    del model
    _give_back_what_was_freed()
    return TorchStepper(
        chosen.runner,
        ModelFacts(
            version=files.version,
            vocabulary=config.vocab_size,
            max_context_tokens=max_context_tokens,
            blocks=chosen.blocks,
        ),
        decode=tokenizer.decode,
        end_ids=chat_format.end_ids,
        max_batch=settings.max_batch,
        clock=clock,
        host=chosen.host,
        schemas=JsonSchemas(files.folder / "tokenizer.json", config.vocab_size, chat_format.end_ids),
        fallbacks=tuple(fallback.reason for fallback in chosen.fallbacks),
        memory=partial(gpu_memory, device) if device.type == "cuda" else process_memory,
    )


def _give_back_what_was_freed() -> None:
    """The C library's allocator keeps what loading has freed, a tenth of a small model's process, until it is told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _cores() -> int:
    """The cores this process may use; not every system can say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
