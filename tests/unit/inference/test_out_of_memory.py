"""Memory that is not there is the engine's fault, not a request's; a bug of the model's is neither."""

from typing import Any

import pytest
import torch

from stream_worker.inference.torch_engine import TorchStepper
from stream_worker.orders import Failed, Fault, Generated, Result
from stream_worker.tokens import Sampling
from tests.unit.inference.tiny import generate, reference, stepper

_SAMPLING = Sampling(max_new_tokens=8)
_PROMPTS = {"a": (5, 6, 7), "b": (9, 8)}


class Exhausted:
    """A model that has no memory for its next pass when it is told so."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self._model(*arguments, **named)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Exhausted:
    from tests.unit.inference import tiny

    model = Exhausted(tiny.tiny_model("llama"))
    monkeypatch.setattr(tiny, "tiny_model", lambda _: model)
    return model


def cpu_error() -> RuntimeError:
    """The one that torch really raises on a CPU."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


def run(engine: TorchStepper, steps: int = 60) -> dict[str, Result]:
    """The last result of each request."""
    last: dict[str, Result] = {}
    for _ in range(steps):
        last |= {result.ref.turn_id: result for result in engine.step()}
    return last


@pytest.mark.parametrize("error", [cpu_error(), torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_without_memory_what_runs_is_blamed_on_the_engine_and_may_come_again(
    model: Exhausted, error: Exception
) -> None:
    engine = stepper()
    for name, ids in _PROMPTS.items():
        engine.add(generate(name, ids, _SAMPLING))
    for _ in range(3):
        engine.step()
    model.error = error
    failed = run(engine, steps=1)
    assert {name: getattr(result, "fault", None) for name, result in failed.items()} == dict.fromkeys(
        _PROMPTS, Fault.ENGINE
    )
    assert engine.kv_tokens == 0

    for name, ids in _PROMPTS.items():
        engine.add(generate(name, ids, _SAMPLING))
    again = run(engine)
    for name, ids in _PROMPTS.items():
        result = again[name]
        assert isinstance(result, Generated)
        assert result.ids == reference("llama", ids, _SAMPLING.max_new_tokens)


def test_another_error_of_the_model_is_not_taken_for_it(model: Exhausted) -> None:
    engine = stepper()
    engine.add(generate("a", _PROMPTS["a"], _SAMPLING))
    model.error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        run(engine)


def test_a_request_that_failed_for_memory_names_the_settings(model: Exhausted) -> None:
    engine = stepper()
    engine.add(generate("a", _PROMPTS["a"], _SAMPLING))
    model.error = MemoryError()
    failed = run(engine, steps=1)["a"]
    assert isinstance(failed, Failed)
    assert "engine.kv_cache_bytes" in failed.message
