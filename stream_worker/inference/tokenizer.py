"""A model's tokenizer and chat template, as the prompt builder and the engines use them.

Reads files when it is made, and nothing afterwards. Encoding happens on the
worker thread, decoding on the device thread.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer

from stream_worker.errors import Code, Misconfigured
from stream_worker.stages.chat_format import ChatFormat, TemplateRefuses, derive_format
from stream_worker.tokens import ChatMessage

#: For models without a chat template: plain lines, such as a base model has read many of.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}User: {{ message.content }}\nAssistant:"
    "{% else %}{{ message.content }}\n{% endif %}"
    "{% endfor %}"
)


class ModelTokenizer:
    """Implements `stages.chat_format.Tokenizer` over a Hugging Face tokenizer."""

    def __init__(self, tokenizer: Any, end_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._template: str = tokenizer.chat_template or PLAIN_TEMPLATE
        self._end_ids = end_ids
        files = json.dumps([tokenizer.backend_tokenizer.to_str(), self._template])
        self._hash = blake2b(files.encode(), digest_size=16).hexdigest()

    @property
    def hash(self) -> str:
        return self._hash

    @property
    def end_ids(self) -> frozenset[int]:
        return self._end_ids

    def encode_markup(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_text(self, text: str) -> tuple[int, ...]:
        # A lone surrogate is valid JSON but has no UTF-8; the Rust tokenizer takes only text that has.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens have none."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def spell(self, ids: Sequence[int]) -> str:
        """The text of ids with the special tokens as they are written: for a person to look at."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The whole conversation up to where the reply begins, by the model's own template."""
        conversation = [{"role": message.role.value, "content": message.text} for message in messages]
        try:
            rendered = self._tokenizer.apply_chat_template(
                conversation, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise TemplateRefuses(str(error)) from error
        return str(rendered)

    def chat_format(self) -> ChatFormat:
        """The template in pieces. Raises Misconfigured when it is not append-only."""
        return derive_format(self.render, self)


def load_tokenizer(folder: Path) -> ModelTokenizer:
    """The tokenizer of a model's folder."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise Misconfigured(Code.MODEL_UNSUITABLE, f"{folder} has no tokenizer that can be read: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise Misconfigured(
            Code.MODEL_UNSUITABLE, f"the tokenizer in {folder} has no tokenizer.json; save it as a fast tokenizer"
        )
    return ModelTokenizer(tokenizer, _end_ids(folder, tokenizer))


def _end_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    ids = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
    generation = folder / "generation_config.json"
    if generation.is_file():
        named = json.loads(generation.read_text(encoding="utf-8")).get("eos_token_id")
        ids.update(named if isinstance(named, list) else [] if named is None else [named])
    return frozenset(ids)
