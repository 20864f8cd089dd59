"""The real model of the wheel: found, converted, its prompts append-only, its replies those of `generate`."""

import json
from dataclasses import replace

import jsonschema
import pytest
import torch

from stream_worker.cache import cache_folder
from stream_worker.clock import SystemClock
from stream_worker.inference.loading import load_model, torch_stepper
from stream_worker.inference.models import BUILT_IN, ModelFiles, resolve_model
from stream_worker.inference.tokenizer import ModelTokenizer, load_tokenizer
from stream_worker.orders import Generate, Generated, Result, Token, TurnRef
from stream_worker.settings.engine import EngineSettings
from stream_worker.stages.prompt import after_reply, build_prompt
from stream_worker.tokens import ChatMessage, PromptIds, Role, Sampling, StoredPrompt

QUESTIONS = (
    "What's the weather in Beijing?",
    "Tell me a joke about <|im_end|> tokens 😀",
    "你好,今天怎么样?",
    "Count from one to ten, then stop.",
)


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return resolve_model(BUILT_IN, None, cache_folder("models"), lambda message: None)


@pytest.fixture(scope="module")
def tokenizer(files: ModelFiles) -> ModelTokenizer:
    return load_tokenizer(files.folder)


def order(name: str, prompt: PromptIds) -> Generate:
    ref = TurnRef(partition=0, term=1, turn_id=name, attempt=1)
    return Generate(
        ref=ref, conversation=name, prompt=prompt, sampling=Sampling(max_new_tokens=16), seed=0, cache_scope="tests"
    )


def test_a_batch_of_turns_is_token_identical_to_generate(files: ModelFiles, tokenizer: ModelTokenizer) -> None:
    chat_format = tokenizer.chat_format()
    engine = torch_stepper(files, tokenizer, chat_format, EngineSettings(dtype="float32"), "cpu", SystemClock())
    prompts = [
        build_prompt(chat_format, tokenizer, "", [ChatMessage(Role.USER, question)], None, 1_000).prompt
        for question in QUESTIONS
    ]
    for number, prompt in enumerate(prompts):
        engine.add(order(str(number), prompt))
    replies: dict[str, Generated] = {}
    texts = dict.fromkeys(map(str, range(len(prompts))), "")
    while engine.seconds_until_ready() == 0:
        for result in engine.step():
            if isinstance(result, Token):
                texts[result.ref.turn_id] += result.text
            elif isinstance(result, Generated):
                replies[result.ref.turn_id] = result
    model = load_model(files.folder, torch.device("cpu"), torch.float32)
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([prompt.ids])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        reply = replies[str(number)]
        assert reply.ids == tuple(expected[0, ids.shape[1] :].tolist())
        assert reply.text == texts[str(number)] == tokenizer.decode(reply.ids)


def test_a_reply_in_json_is_held_to_its_schema(files: ModelFiles, tokenizer: ModelTokenizer) -> None:
    """135 million parameters would not write JSON by themselves; whatever they say, its form is right."""
    chat_format = tokenizer.chat_format()
    engine = torch_stepper(files, tokenizer, chat_format, EngineSettings(), "cpu", SystemClock())
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "rain": {"type": "boolean"}},
        "required": ["city", "rain"],
        "additionalProperties": False,
    }
    prompt = build_prompt(chat_format, tokenizer, "", [ChatMessage(Role.USER, QUESTIONS[0])], None, 1_000).prompt
    sampling = Sampling(max_new_tokens=64, json_schema=json.dumps(schema), log_probabilities=True)
    engine.add(replace(order("json", prompt), sampling=sampling))
    results: list[Result] = []
    while engine.seconds_until_ready() == 0:
        results += engine.step()
    reply = results[-1]
    assert isinstance(reply, Generated)
    jsonschema.validate(json.loads(reply.text), schema)
    assert len(reply.log_probabilities) == len(reply.ids)
    assert all(each <= 0 for each in reply.log_probabilities)


def test_ids_of_a_turn_begin_the_next(tokenizer: ModelTokenizer) -> None:
    chat_format = tokenizer.chat_format()
    history: list[ChatMessage] = []
    stored: StoredPrompt | None = None
    before: tuple[int, ...] = ()
    for question in QUESTIONS:
        history.append(ChatMessage(Role.USER, question))
        built = build_prompt(chat_format, tokenizer, "Be brief.", history, stored, 2_000)
        assert built.prompt.ids[: len(before)] == before
        reply = f"Sampled differently: {question}"
        sampled = tuple(token for letter in reply for token in tokenizer.encode_text(letter))
        sampled += tuple(sorted(chat_format.end_ids)) if len(history) % 4 == 1 else ()
        stored = after_reply(built, sampled)
        before = (*built.prompt.ids, *sampled)
        history.append(ChatMessage(Role.ASSISTANT, reply))
    assert chat_format.end_ids == {2}
