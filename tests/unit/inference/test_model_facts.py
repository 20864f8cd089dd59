"""What files tell of a model without loading it is what the engine finds when it runs it."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stream_worker.doctor import model as doctor
from stream_worker.inference.levels import LevelName, choose
from stream_worker.inference.loading import load_model, pick_dtype
from stream_worker.inference.native.reader import Sizes
from stream_worker.settings import Settings

_CACHE = 16 << 20


def _llama(folder: Path, head: int) -> Path:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=head,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.mark.parametrize("level", ["auto", "portable", "plain"])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("head", [32, 64, 96])
def test_as_many_turns_fit_as_the_engine_has_blocks_for(
    tmp_path: Path, head: int, dtype: str, level: LevelName
) -> None:
    folder = _llama(tmp_path / "model", head)
    engine = {"model": str(folder), "dtype": dtype, "level": level, "max_context_tokens": 500, "kv_cache_bytes": _CACHE}
    settings = Settings.model_validate({"device": "cpu", "engine": engine})
    cpu = torch.device("cpu")
    chosen = choose(
        load_model(folder, cpu, pick_dtype(settings.engine.dtype, cpu)), level, Sizes(16, 512, _CACHE, threads=1)
    )
    (memory,) = (
        each for each in doctor.judge(doctor.gather(settings, on_gpu=False), settings) if each.name == "memory"
    )
    assert f"holds {chosen.blocks // 8} turns" in memory.what
