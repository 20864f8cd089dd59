"""The real model of the wheel: found, converted, its prompts append-only, its replies those of `generate`."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch

from stream_worker.cache import cache_folder
from stream_worker.clock import SystemClock
from stream_worker.inference.levels import choose
from stream_worker.inference.loading import load_model, pick_dtype, torch_stepper
from stream_worker.inference.models import BUILT_IN, ModelFiles, resolve_model
from stream_worker.inference.native.reader import Sizes
from stream_worker.inference.segments import Segment
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


def test_the_perplexity_in_bf16_is_that_of_the_model(files: ModelFiles, tokenizer: ModelTokenizer) -> None:
    """Of a text that does not change, windows side by side, token by token: as replies are generated."""
    if pick_dtype("auto", torch.device("cpu")) is not torch.bfloat16:
        pytest.skip("this CPU has no bf16")
    ids = tokenizer.encode_text(Path(__file__).parents[2].joinpath("LICENSE").read_text(encoding="utf-8"))
    windows = [ids[at : at + 150] for at in range(0, 1_200, 150)]
    model = load_model(files.folder, torch.device("cpu"), torch.bfloat16)
    with torch.no_grad():
        expected = _loss(model(torch.tensor(windows)).logits[:, :-1], windows)
    runner = choose(model, "auto", Sizes(64, 256, 1 << 26, 1)).runner
    rows = []
    for at in range(149):
        segments = [
            Segment(ids=[window[at]], start=at, blocks=range(4 * number, 4 * number + 4), samples=True, logits=True)
            for number, window in enumerate(windows)
        ]
        given = [one.logits for one in runner.run(segments) if one.logits is not None]
        rows.append(torch.stack([torch.from_numpy(logits) for logits in given]))
    assert _loss(torch.stack(rows, 1), windows) == pytest.approx(expected, abs=0.005)


def _loss(logits: torch.Tensor, windows: list[tuple[int, ...]]) -> float:
    """Mean negative log-likelihood of each window's ids but the first: the logarithm of the perplexity."""
    targets = torch.tensor(windows)[:, 1:]
    return float(torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten()))


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
