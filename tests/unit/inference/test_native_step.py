"""The native step against the module it was read from, and each row against itself in another batch."""

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_worker.inference.native.build import Unavailable, Words, fastest_words, library
from stream_worker.inference.native.library import NativeModel, PackedLinear, pool
from stream_worker.inference.native.reader import Sizes, read
from stream_worker.inference.native.runner import NativeRunner
from stream_worker.inference.segments import BLOCK_TOKENS, Segment
from stream_worker.outcome import FallbackReason
from tests.unit.inference.families import COVERED, VOCABULARY, family_model

pytestmark = pytest.mark.skipif(
    isinstance(library(), Unavailable) or fastest_words(half=False) is None, reason="no native step on this machine"
)

SIZES = Sizes(max_rows=256, max_tokens=512, cache_bytes=1 << 23, threads=2)
HALVES = [words for words in (Words.BF16, Words.AMX) if (fastest_words(half=True) or 0) >= words]


def runner(family: str, words: Words = Words.FP32, threads: int = 2) -> NativeRunner:
    model = family_model(family)
    if words != Words.FP32:
        model = copy.deepcopy(model).bfloat16()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream_worker.inference.native.reader.fastest_words", lambda half: words)
        native = read(model, Sizes(SIZES.max_rows, SIZES.max_tokens, SIZES.cache_bytes, threads))
    assert isinstance(native, NativeModel)
    return NativeRunner(native)


def prompt(length: int, seed: int = 1) -> list[int]:
    return [int(one) for one in np.random.default_rng(seed).integers(2, VOCABULARY, length)]


def table(number: int) -> list[int]:
    """Blocks of a sequence, neither in order nor next to each other."""
    return [number + 8 * at for at in (3, 0, 2, 1)]


def in_chunks(
    run: NativeRunner, ids: Sequence[int], chunks: Sequence[int], blocks: Sequence[int]
) -> list[NDArray[np.float32]]:
    """The logits after each chunk."""
    ends = list(itertools.accumulate(chunks))
    rows = []
    for start, end in zip([0, *ends], ends, strict=False):
        (given,) = run.run([Segment(ids=ids[start:end], start=start, blocks=blocks, samples=True, logits=True)])
        assert given.logits is not None
        assert given.likeliest == given.logits.argmax()
        rows.append(given.logits)
    return rows


def logits_of(family: str, ids: Sequence[int]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: torch.Tensor = family_model(family)(torch.tensor([list(ids)])).logits[0]
    return logits.numpy()


CHUNKS = (37, 1, 1, 70, 1, 64, 26)


@pytest.mark.parametrize("family", COVERED)
def test_logits_are_those_of_the_module_in_fp32(family: str) -> None:
    ids = prompt(sum(CHUNKS))
    expected = logits_of(family, ids)
    for logits, end in zip(in_chunks(runner(family), ids, CHUNKS, table(1)), itertools.accumulate(CHUNKS), strict=True):
        assert np.abs(logits - expected[end - 1]).max() < 1e-4


@pytest.mark.parametrize("words", HALVES)
@pytest.mark.parametrize("family", COVERED)
def test_logits_in_bf16_are_near_those_of_the_module_in_fp32(family: str, words: Words) -> None:
    ids = prompt(sum(CHUNKS))
    expected = logits_of(family, ids)
    rows = in_chunks(runner(family, words), ids, CHUNKS, table(1))
    for logits, end in zip(rows, itertools.accumulate(CHUNKS), strict=True):
        error = logits - expected[end - 1]
        assert np.sqrt((error**2).mean()) < 0.02 * np.abs(expected).max()


_RUNNERS = {(family, words): runner(family, words) for family in ("llama", "gemma2") for words in (Words.FP32, *HALVES)}


@pytest.mark.parametrize(("family", "words"), list(_RUNNERS))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_row_is_bit_for_bit_the_same_in_any_batch_and_any_chunks(
    family: str, words: Words, data: st.DataObject
) -> None:
    run = _RUNNERS[family, words]
    lengths = data.draw(st.lists(st.integers(1, 42), min_size=1, max_size=6))
    ids = prompt(sum(lengths))
    alone = in_chunks(run, ids, [1] * len(ids) if len(ids) < 40 else [len(ids) - 1, 1], table(0))[-1]
    done = 0
    for length in lengths:
        own = Segment(ids=ids[done : done + length], start=done, blocks=table(0), samples=True, logits=True)
        others = [
            Segment(ids=prompt(size, seed=size), start=0, blocks=table(at + 1), samples=at % 2 == 0)
            for at, size in enumerate(data.draw(st.lists(st.integers(1, 25), max_size=6)))
        ]
        place = data.draw(st.integers(0, len(others)))
        samples_before = sum(other.samples for other in others[:place])
        together = run.run([*others[:place], own, *others[place:]])[samples_before].logits
        done += length
    assert together is not None
    assert (together == alone).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    ids = prompt(90)
    one, other = (in_chunks(runner("qwen3", threads=number), ids, (80, 10), table(2)) for number in (2, threads))
    assert all((mine == theirs).all() for mine, theirs in zip(one, other, strict=True))


@pytest.mark.parametrize("words", [Words.FP32, *HALVES])
@pytest.mark.parametrize("shared", [1, 26, 63])
def test_a_copied_block_serves_another_sequence_as_far_as_it_was_copied(words: Words, shared: int) -> None:
    run = runner("llama", words)
    first, second = prompt(60), prompt(30, seed=2)
    in_chunks(run, [*first, *prompt(20, seed=3)], (80,), table(0))
    whole = [*first, *prompt(4, seed=3)][:shared] + second
    expected = in_chunks(run, whole, (len(whole),), table(1))[0]
    run.copy_block(table(0)[0], table(2)[0], shared)
    (given,) = run.run([Segment(ids=second, start=shared, blocks=table(2), samples=True, logits=True)])
    assert given.logits is not None
    assert (given.logits == expected).all()


def test_what_another_request_left_in_a_block_is_never_seen() -> None:
    run = runner("llama", (HALVES or [Words.FP32])[-1])
    expected = in_chunks(run, prompt(5), (5,), table(0))[0]
    broken = runner("llama", (HALVES or [Words.FP32])[-1])
    weights = family_model("llama").model.embed_tokens.weight
    with torch.no_grad():
        kept = weights[7].clone()
        weights[7] = float("nan")
    try:
        poisoned = runner("llama")
        (given,) = poisoned.run([Segment(ids=[7] * 60, start=0, blocks=table(0), samples=True)])
        assert given.likeliest == -1
        (after,) = poisoned.run([Segment(ids=prompt(5), start=0, blocks=table(0), samples=True, logits=True)])
        assert after.logits is not None
        assert np.isfinite(after.logits).all()
    finally:
        with torch.no_grad():
            weights[7] = kept
    assert (in_chunks(broken, prompt(5), (5,), table(0))[0] == expected).all()


def test_a_step_with_wrong_indices_is_refused_before_anything_is_read() -> None:
    run = runner("llama")
    for segment in (
        Segment(ids=[VOCABULARY], start=0, blocks=[0], samples=True),
        Segment(ids=[-1], start=0, blocks=[0], samples=True),
        Segment(ids=[5], start=0, blocks=[run.blocks], samples=True),
        Segment(ids=[5], start=SIZES.max_tokens, blocks=[0] * 9, samples=True),
        Segment(ids=[5] * (SIZES.max_rows + 1), start=0, blocks=[0] * 9, samples=True),
    ):
        with pytest.raises(RuntimeError, match="out of range"):
            run.run([segment])


def test_what_is_not_covered_is_said() -> None:
    refused = read(family_model("gpt2"), SIZES)
    assert isinstance(refused, Unavailable)
    assert refused.reason is FallbackReason.ARCHITECTURE
    refused = read(family_model("llama").to(torch.float16), SIZES)
    family_model("llama").float()
    assert isinstance(refused, Unavailable)
    assert refused.reason is FallbackReason.DTYPE


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("rows", "columns", "texts"), [(7, 16, 1), (50, 48, 33), (384, 1536, 5)])
def test_a_packed_linear_is_the_linear(half: bool, rows: int, columns: int, texts: int) -> None:
    if fastest_words(half=half) is None:
        pytest.skip("no native products of this type")
    torch.manual_seed(0)
    linear = torch.nn.Linear(columns, rows)
    packed = PackedLinear.make(linear.weight, linear.bias, half=half, threads=2)
    assert packed is not None
    x = torch.randn(2, texts, columns)
    with torch.no_grad():
        assert (packed(x) - linear(x)).abs().max() < (0.05 if half else 1e-4)
    assert (packed(x)[1, -1] == packed(x[1, -1])).all()


def test_the_threads_of_a_process_are_made_once() -> None:
    assert pool(2) is pool(2)
    assert BLOCK_TOKENS == 64
