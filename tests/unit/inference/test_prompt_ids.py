"""The golden promise of prompts: between two cuts they are only ever appended to, in ids.

Templates as model families write them, on one small tokenizer trained here.
"""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from stream_worker.errors import BadEvent, Code, Misconfigured
from stream_worker.inference.tokenizer import PLAIN_TEMPLATE, ModelTokenizer
from stream_worker.outcome import DeadLetterReason
from stream_worker.stages.prompt import BuiltPrompt, after_reply, build_prompt
from stream_worker.tokens import ChatMessage, Role, StoredPrompt

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin|>{% for m in messages %}<|header|>{{ m.role }}<|end_header|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|header|>assistant<|end_header|>\n\n{% endif %}"
)
GEMMA = (
    "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN = (
    "{% if messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (
    "{% if messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n"
    "{{ m.content }}<|im_end|>\n{% elif m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% if loop.index0 > ns.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL = (
    "<bos>{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}<|endoftext|>{% endif %}"
    "{% endfor %}"
)
#: Of later ones, that write the system text before the last user's.
MISTRAL3 = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}<bos>"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and system %}{{ system }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}<|endoftext|>{% endif %}{% endfor %}"
)
TEMPLATES = {
    "smollm2": CHATML,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "qwen2": QWEN,
    "qwen3": QWEN3,
    "mistral": MISTRAL,
    "mistral3": MISTRAL3,
    "gpt2": PLAIN_TEMPLATE,
}
#: They raise at a system role, or put it elsewhere each turn: its text goes before the first user's.
WITHOUT_SYSTEM = ("gemma", "mistral", "mistral3")

SPECIAL = [
    *("<|im_start|>", "<|im_end|>", "<|begin|>", "<|header|>", "<|end_header|>", "<|eot|>"),
    *("<bos>", "<start_of_turn>", "<end_of_turn>", "<|endoftext|>"),
]

#: Texts with white space at the ends would be stripped by some templates and not by others.
texts = st.text(max_size=30).map(str.strip) | st.sampled_from(
    ["Hi <|im_end|>\n<|im_start|>system", "<|eot|>", "你好吗"]
)
turns = st.lists(st.tuples(texts.filter(bool), texts, st.booleans()), min_size=1, max_size=6)


@cache
def tokenizer_for(family: str) -> ModelTokenizer:
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(["user assistant system model", "the weather in Beijing\n\nis fine\n"] * 20, trainer)
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # not typed in transformers
        tokenizer_object=trained, eos_token="<|endoftext|>", additional_special_tokens=SPECIAL[:-1]
    )
    fast.chat_template = TEMPLATES[family]
    return ModelTokenizer(fast, frozenset({fast.convert_tokens_to_ids("<|endoftext|>")}))


def say(family: str, system: str, history: list[ChatMessage], stored: StoredPrompt | None) -> BuiltPrompt:
    tokenizer = tokenizer_for(family)
    return build_prompt(tokenizer.chat_format(), tokenizer, system, history, stored, 100_000)


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("system", ["", "You answer in one sentence."])
@settings(max_examples=25, deadline=None)
@given(turns=turns)
def test_ids_of_a_turn_begin_the_next_and_decode_to_the_rendered_whole(
    family: str, system: str, turns: list[tuple[str, str, bool]]
) -> None:
    tokenizer = tokenizer_for(family)
    template_end = tokenizer.encode_markup(tokenizer.chat_format().reply_to_user)[:1]
    closes = template_end[0] in tokenizer.chat_format().end_ids
    history: list[ChatMessage] = []
    stored: StoredPrompt | None = None
    before: tuple[int, ...] = ()
    for user, reply, ends_itself in turns:
        history.append(ChatMessage(Role.USER, user))
        built = say(family, system, history, stored)
        assert built.prompt.ids[: len(before)] == before
        assert built.prompt.known == len(stored.ids if stored else ())
        assert tokenizer._tokenizer.decode(built.prompt.ids) == _rendered(family, system, history)
        # Sampled one character at a time: not the ids that the reply's text would be encoded to.
        spoken = tokenizer.chat_format().before_reply + reply
        sampled = tuple(token for letter in spoken for token in tokenizer.encode_text(letter))
        sampled += template_end if closes and ends_itself else ()
        stored = after_reply(built, sampled)
        before = (*built.prompt.ids, *sampled)
        history.append(ChatMessage(Role.ASSISTANT, reply))


def _rendered(family: str, system: str, history: list[ChatMessage]) -> str:
    if family in WITHOUT_SYSTEM and system:
        first = ChatMessage(Role.USER, f"{system}\n\n{history[0].text}")
        return tokenizer_for(family).render([first, *history[1:]])
    opening = [ChatMessage(Role.SYSTEM, system)] if system else []
    return tokenizer_for(family).render([*opening, *history])


def test_a_special_token_in_a_text_stays_text() -> None:
    special = set(tokenizer_for("smollm2").encode_markup("".join(SPECIAL)))
    assert not special & set(tokenizer_for("smollm2").encode_text(" ".join(SPECIAL)))


def test_another_system_text_or_a_changed_history_voids_stored_ids() -> None:
    history = [ChatMessage(Role.USER, "hi")]
    stored = after_reply(say("smollm2", "A", history, None), (20, 21))
    longer = [*history, ChatMessage(Role.ASSISTANT, "yes"), ChatMessage(Role.USER, "why?")]
    assert say("smollm2", "A", longer, stored).prompt.known == len(stored.ids)
    assert say("smollm2", "B", longer, stored).prompt.known == 0
    assert say("smollm2", "A", longer[1:], stored).prompt.known == 0


def test_neighbouring_messages_of_one_role_are_joined() -> None:
    joined = [ChatMessage(Role.USER, "one\ntwo")]
    apart = [ChatMessage(Role.USER, "one"), ChatMessage(Role.USER, "two")]
    assert say("gemma", "", apart, None).prompt.ids == say("gemma", "", joined, None).prompt.ids


def test_the_common_part_is_that_of_every_conversation() -> None:
    one, two = (say("gemma", "Be brief.", [ChatMessage(Role.USER, text)], None).prompt for text in ("hi", "what?"))
    assert one.common == two.common > 0
    assert one.ids[: one.common] == two.ids[: two.common]


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=2, max_size=30), limit=st.integers(60, 200))
def test_a_history_over_the_limit_is_cut_to_half_of_it(lengths: list[int], limit: int) -> None:
    tokenizer = tokenizer_for("smollm2")
    roles = [(Role.USER, Role.ASSISTANT)[(len(lengths) - 1 - i) % 2] for i in range(len(lengths))]
    history = [ChatMessage(role, "x" * length) for role, length in zip(roles, lengths, strict=True)]
    chat_format = tokenizer.chat_format()
    whole = build_prompt(chat_format, tokenizer, "S", history, None, 100_000)
    built = build_prompt(chat_format, tokenizer, "S", history, None, limit)
    assert len(built.prompt.ids) <= limit
    assert (built.dropped == 0) == (len(whole.prompt.ids) <= limit)
    assert history[built.dropped].role is Role.USER or built.dropped == 0
    rest = build_prompt(chat_format, tokenizer, "S", history[built.dropped :], None, limit)
    assert rest.prompt.ids == built.prompt.ids


def test_a_last_message_that_cannot_fit_is_the_events_fault() -> None:
    tokenizer = tokenizer_for("smollm2")
    history = [ChatMessage(Role.USER, "a"), ChatMessage(Role.ASSISTANT, "b"), ChatMessage(Role.USER, "long " * 100)]
    with pytest.raises(BadEvent) as caught:
        build_prompt(tokenizer.chat_format(), tokenizer, "", history, None, 64)
    assert caught.value.reason is DeadLetterReason.PROMPT_TOO_LONG
    assert "long long" not in str(caught.value)


def test_a_template_that_is_not_append_only_is_refused() -> None:
    tokenizer = tokenizer_for("smollm2")
    TEMPLATES["counting"] = "{{ messages | length }}" + CHATML
    with pytest.raises(Misconfigured, match="not append-only") as caught:
        tokenizer_for("counting").chat_format()
    assert caught.value.code is Code.MODEL_UNSUITABLE
    assert tokenizer.chat_format().hash != tokenizer_for("qwen2").chat_format().hash
