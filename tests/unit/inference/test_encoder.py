"""Understanding: one answer an order, independent of what shares the batch, and heads that fit or are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.encoder import HeadsEncoder, load_encoder
from stream_worker.inference.evidence import EvidenceMethod
from stream_worker.inference.heads import Heads
from stream_worker.inference.heads_files import load_heads, save_heads
from stream_worker.inference.text_encoder import TextEncoder, load_text_encoder, passes
from stream_worker.orders import Encode, Encoded, Failed, Fault, TurnRef
from stream_worker.training.examples import Example, Examples, MarkedSlot
from stream_worker.training.train import TrainingOptions, train
from tests.unit.inference.tiny_encoder import write_tiny_encoder

_EXAMPLES = Examples(
    (
        *(
            Example(f"in {city} now", ("weather",), (MarkedSlot("location", 3, 3 + len(city)),))
            for city in ("rome", "oslo")
        ),
        *(Example(text, ("greet",)) for text in ("hello", "hi you", "good day")),
        *(Example(text, ("out_of_scope",)) for text in ("zzz qqq", "xxx")),
    ),
    {"oslo": "Oslo"},
    {},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_tiny_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def frozen(folder: Path) -> TextEncoder:
    return load_text_encoder(str(folder), 64, "float32")


@pytest.fixture(scope="module")
def heads(frozen: TextEncoder) -> Heads:
    return train(_EXAMPLES, frozen, TrainingOptions(seed=1))


def _order(number: int, text: str, heads: str = "known") -> Encode:
    return Encode(ref=TurnRef(0, 1, f"t-{number}", 1), text=text, heads=heads)


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.text(max_size=40), max_size=6), unknown=st.sets(st.integers(0, 5)))
def test_each_order_has_its_answer_in_order(
    frozen: TextEncoder, heads: Heads, texts: list[str], unknown: set[int]
) -> None:
    encoder = HeadsEncoder({"known": heads})
    orders = [_order(n, text, "unknown" if n in unknown else "known") for n, text in enumerate(texts)]
    results = encoder.encode(orders)
    assert [result.ref for result in results] == [order.ref for order in orders]
    for order, result in zip(orders, results, strict=True):
        if order.heads == "unknown":
            assert isinstance(result, Failed)
            assert result.fault is Fault.EVENT
            continue
        assert isinstance(result, Encoded)
        assert sum(intent.score for intent in result.intents) == pytest.approx(1, abs=1e-4)
        assert list(result.intents) == sorted(result.intents, key=lambda intent: -intent.score)
        assert result.in_scope == (result.scope >= heads.card.threshold)
        assert result.batch_size == sum(order.heads == "known" for order in orders)
        assert all(0 <= slot.start < slot.end <= len(order.text) for slot in result.slots)


def test_an_answer_does_not_depend_on_the_texts_beside_it(frozen: TextEncoder) -> None:
    texts = ["hi", "", "in rome now " * 5, "你好"]
    together = frozen.read(texts)
    for text, beside in zip(texts, together, strict=True):
        (alone,) = frozen.read([text])
        assert alone.tokens == beside.tokens
        assert torch.allclose(alone.vector, beside.vector, atol=1e-5)
        assert torch.allclose(alone.states, beside.states, atol=1e-4)
    for read, beside in zip(frozen.read_tokens(frozen.tokenize(texts), batch=2), together, strict=True):
        assert torch.allclose(read.vector, beside.vector, atol=1e-5)


@given(st.lists(st.integers(1, 300), max_size=40))
def test_passes_hold_every_text_once_and_waste_little(lengths: list[int]) -> None:
    parts = list(passes(lengths, batch=8))
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        own = [lengths[index] for index in part]
        assert len(part) <= 8
        assert len(part) == 1 or max(own) * len(own) <= 2 * sum(own)


def test_texts_of_like_length_share_a_pass() -> None:
    assert list(passes([9, 200, 8, 8, 9])) == [[2, 3, 0, 4], [1]]


def test_padding_and_truncation_of_the_tokenizer_file_are_off(frozen: TextEncoder) -> None:
    (short,) = frozen.read(["ab"])
    assert len(short.tokens.kept) == 2
    (long,) = frozen.read(["ab " * 10_000])
    assert len(long.tokens.kept) == 64 - 2


def test_spans_are_code_points_of_the_text_as_given(frozen: TextEncoder) -> None:
    (read,) = frozen.read(["\ud800🎉é 上海"])
    assert [(word.start, word.end) for word in read.tokens.words[-2:]] == [(4, 5), (5, 6)]


def test_slots_carry_what_their_text_stands_for(frozen: TextEncoder, heads: Heads) -> None:
    (result,) = HeadsEncoder({"known": heads}).encode([_order(0, "in oslo now")])
    assert isinstance(result, Encoded)
    assert [(slot.name, slot.value, slot.start, slot.end) for slot in result.slots] == [("location", "Oslo", 3, 7)]


@pytest.mark.parametrize("finetune", [False, True])
def test_training_is_the_same_for_the_same_seed(frozen: TextEncoder, tmp_path: Path, finetune: bool) -> None:
    for name, seed in zip("abc", (1, 1, 2), strict=True):
        save_heads(train(_EXAMPLES, frozen, TrainingOptions(seed=seed, finetune=finetune)), tmp_path / name)
    first, second, other = ((tmp_path / name / "heads.safetensors").read_bytes() for name in "abc")
    assert first == second != other


def test_one_intent_alone_cannot_be_trained(frozen: TextEncoder) -> None:
    with pytest.raises(Misconfigured, match="at least 2"):
        train(_EXAMPLES.only([0, 1]), frozen, TrainingOptions())


def test_heads_without_negatives_or_slots_can_be_trained(frozen: TextEncoder) -> None:
    plain = Examples(tuple(replace(example, slots=()) for example in _EXAMPLES.examples[:5]), {}, {})
    (understood,) = train(plain, frozen, TrainingOptions()).understand(["hello"])
    assert understood.intents[0].name == "greet"
    assert understood.slots == ()


@pytest.mark.parametrize("finetune", [False, True])
def test_heads_are_loaded_as_they_were_saved(frozen: TextEncoder, tmp_path: Path, finetune: bool) -> None:
    heads = train(_EXAMPLES, frozen, TrainingOptions(finetune=finetune))
    save_heads(heads, tmp_path)
    loaded = load_heads(tmp_path, frozen)
    assert loaded.card == heads.card
    assert loaded.card.tuned_layers == (2 if finetune else 0)
    (before,), (after,) = heads.understand(["in rome now"]), loaded.understand(["in rome now"])
    # Tuned layers are kept in half the bits.
    assert after.scope == pytest.approx(before.scope, abs=0.02)
    assert after.slots == before.slots or finetune
    assert [intent.name for intent in after.intents] == [intent.name for intent in before.intents]


def test_bots_on_tuned_and_plain_encoders_share_a_micro_batch(
    folder: Path, frozen: TextEncoder, heads: Heads, tmp_path: Path
) -> None:
    save_heads(heads, tmp_path / "plain")
    save_heads(train(_EXAMPLES, frozen, TrainingOptions(finetune=True)), tmp_path / "tuned")
    encoder = load_encoder("auto", {str(tmp_path / name): ["greet"] for name in ("plain", "tuned")}, 64)
    orders = [_order(number, "in rome now", str(tmp_path / name)) for number, name in enumerate(["tuned", "plain"])]
    for result in encoder.encode(orders):
        assert isinstance(result, Encoded)
        assert (result.intents[0].name, result.batch_size) == ("weather", 2)


def test_an_encoder_that_is_no_bert_can_be_used_but_not_tuned(tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path, kind="distilbert")
    other = load_text_encoder(str(tmp_path), 64)
    (understood,) = train(_EXAMPLES, other, TrainingOptions()).understand(["in rome now"])
    assert understood.intents[0].name == "weather"
    with pytest.raises(Misconfigured, match="fine-tuned"):
        train(_EXAMPLES, other, TrainingOptions(finetune=True))


@settings(deadline=None, max_examples=20)
@given(blank=st.text(alphabet=" \t\n\u3000\u00a0\u200b", max_size=8))
def test_what_says_nothing_is_out_of_scope(heads: Heads, blank: str) -> None:
    nothing, greeting = heads.understand([blank, "hello"])
    assert not nothing.in_scope
    assert nothing.scope == 0
    assert greeting.in_scope


def test_a_text_may_have_several_intents(frozen: TextEncoder) -> None:
    both = Example("hello in rome now", ("greet", "weather"), (MarkedSlot("location", 9, 13),))
    several = Examples((*_EXAMPLES.examples, both, replace(both, text="hi you in oslo now", slots=())))
    heads = train(several, frozen, TrainingOptions())
    (understood,) = heads.understand(["hello in rome now"])
    assert {intent.name for intent in understood.intents if intent.score >= 0.5} == {"greet", "weather"}


def test_lists_and_expressions_that_no_example_marks_are_slots(frozen: TextEncoder) -> None:
    listed = replace(_EXAMPLES, lookups={"size": ("extra large",)}, regexes={"order": (r"\d{4}",)})
    (understood,) = train(listed, frozen, TrainingOptions()).understand(["Extra Large of 1234 in rome now"])
    found = {(slot.name, slot.value) for slot in understood.slots}
    assert {("size", "Extra Large"), ("order", "1234")} <= found


def test_sentiment_is_learnt_where_examples_have_it(frozen: TextEncoder, heads: Heads) -> None:
    moods = {"weather": "negative", "greet": "positive"}
    moody = tuple(replace(one, sentiment=moods.get(one.intent)) for one in _EXAMPLES.examples)
    (understood,) = train(replace(_EXAMPLES, examples=moody), frozen, TrainingOptions()).understand(["hello"])
    assert understood.sentiment is not None
    assert understood.sentiment.label == "positive"
    assert heads.understand(["hello"])[0].sentiment is None


@pytest.mark.parametrize("method", list(EvidenceMethod))
def test_evidence_is_of_the_words_of_the_text(heads: Heads, method: EvidenceMethod) -> None:
    texts = ["in rome now", "", "🎉 hello"]
    results = HeadsEncoder({"known": heads}, method).encode([_order(0, text) for text in texts])
    for text, result in zip(texts, results, strict=True):
        assert isinstance(result, Encoded)
        assert [one.decision for one in result.evidence][:2] == (["intent", "scope"] if text else [])
        for one in result.evidence:
            assert one.method == method
            assert all(0 <= word.start < word.end <= len(text) and abs(word.weight) <= 1 for word in one.words)


def test_heads_that_are_not_there_are_missing(frozen: TextEncoder, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nlu train") as caught:
        load_heads(tmp_path, frozen)
    assert caught.value.code is Code.HEADS_NOT_FOUND


@pytest.mark.parametrize("change", [{"format": 0}, {"encoder": "other"}, {"surplus": 1}, None])
def test_heads_that_do_not_fit_are_refused(
    frozen: TextEncoder, heads: Heads, tmp_path: Path, change: dict[str, object] | None
) -> None:
    save_heads(heads, tmp_path)
    card = tmp_path / "heads.json"
    changed = "{" if change is None else json.dumps({**json.loads(card.read_text(encoding="utf-8")), **change})
    card.write_text(changed, encoding="utf-8")
    with pytest.raises(Misconfigured) as caught:
        load_heads(tmp_path, frozen)
    assert caught.value.code is Code.HEADS_UNSUITABLE


def test_files_of_two_trainings_are_refused(frozen: TextEncoder, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        save_heads(train(_EXAMPLES, frozen, TrainingOptions(seed=seed)), tmp_path / name)
    (tmp_path / "b" / "heads.safetensors").replace(tmp_path / "a" / "heads.safetensors")
    with pytest.raises(Misconfigured, match="do not belong together"):
        load_heads(tmp_path / "a", frozen)


def test_another_encoders_heads_are_refused(heads: Heads, tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path / "encoder", seed=5)
    save_heads(heads, tmp_path / "heads")
    with pytest.raises(Misconfigured, match="trained on the encoder"):
        load_encoder(str(tmp_path / "encoder"), {str(tmp_path / "heads"): []}, 64)


def test_an_intent_that_a_bot_names_and_nobody_trained_is_refused(folder: Path, heads: Heads, tmp_path: Path) -> None:
    save_heads(heads, tmp_path)
    with pytest.raises(Misconfigured, match=r"not trained for: gret; .*greet") as caught:
        load_encoder(str(folder), {str(tmp_path): ["greet", "gret"]}, 64)
    assert caught.value.code is Code.HEADS_UNSUITABLE


def test_a_folder_without_an_encoder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        load_text_encoder(str(tmp_path), 64)
    assert caught.value.code is Code.MODEL_NOT_FOUND


def test_an_encoder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    write_tiny_encoder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(Misconfigured, match=r"tokenizer\.json"):
        load_text_encoder(str(tmp_path), 64)
