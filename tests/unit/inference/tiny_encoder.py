"""A random BERT of two layers with its files, as a folder: what a Hugging Face encoder looks like."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz?.!你好上海"


def write_tiny_encoder(folder: Path, seed: int = 0, kind: str = "bert") -> None:
    """Its tokenizer file pads to 64 and cuts at 16, as some published ones do."""
    torch.manual_seed(seed)
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *_LETTERS, *(f"##{c}" for c in _LETTERS)])}
    _tiny_model(kind, len(vocabulary)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))


def _tiny_model(kind: str, tokens: int) -> PreTrainedModel:
    if kind == "distilbert":
        config = DistilBertConfig(vocab_size=tokens, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
        return DistilBertModel(config)
    shape: dict[str, Any] = {
        "vocab_size": tokens,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    return RobertaModel(RobertaConfig(**shape)) if kind == "roberta" else BertModel(BertConfig(**shape))
