"""The portable level on a GPU. Runs where there is one (`pytest -m cuda`), and nowhere else."""

import pytest
import torch

from stream_worker.orders import Generated
from stream_worker.tokens import Sampling
from tests.unit.inference.tiny import chosen, generate, reference, stepper

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2"])
def test_greedy_replies_of_a_full_batch_are_those_of_generate(family: str) -> None:
    """With few blocks, so that lanes are preempted and conversations move to the host and back."""
    engine = stepper(max_batch=4, step_tokens=32, runs=chosen(family, "auto", blocks=6, device="cuda", host_blocks=4))
    prompts = {str(number): tuple(range(2 + number, 60 + 3 * number)) for number in range(6)}
    for turn in range(2):
        for name, prompt in prompts.items():
            order = generate(f"{name}/{turn}", prompt, Sampling(max_new_tokens=12), conversation=name)
            engine.add(order)
        while engine.seconds_until_ready() == 0:
            for result in engine.step():
                if isinstance(result, Generated):
                    assert result.ids == reference(family, prompts[result.ref.turn_id.split("/")[0]], 12)
    assert engine.level == "portable"
