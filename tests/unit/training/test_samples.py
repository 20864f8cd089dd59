"""Names of intents are examples of them, where they have few others."""

from pathlib import Path
from random import Random

import pytest

from stream_worker.inference.text_encoder import load_text_encoder
from stream_worker.training.examples import Example, Examples
from stream_worker.training.samples import make_samples
from tests.unit.inference.tiny_encoder import write_tiny_encoder


@pytest.mark.parametrize("count", [20, 21])
def test_an_intent_with_few_examples_has_its_name_as_one_more(tmp_path: Path, count: int) -> None:
    write_tiny_encoder(tmp_path)
    encoder = load_text_encoder(str(tmp_path), 64, "float32")
    examples = [
        *(Example(f"hello {number}", ("greet",)) for number in range(count)),
        Example("in rome", ("cardArrival_in",)),
        Example("hi you", ("42",)),
    ]
    samples = make_samples(Examples(tuple(examples)), encoder, Random(0))
    named = {
        name.tokens.text: [samples.intents[at] for at in wanted.nonzero().flatten().tolist()]
        for name, wanted in zip(samples.names, samples.names_wanted, strict=True)
    }
    assert named == {"card arrival in": ["cardArrival_in"], **({"greet": ["greet"]} if count == 20 else {})}
