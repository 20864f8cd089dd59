"""Memory that is not there costs time, not requests; a bug of the model's is neither."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from stream_worker.inference.segments import Next, Runner, Segment
from stream_worker.inference.torch_engine import TorchStepper
from stream_worker.orders import Failed, Fault, Forget, Generated, Result, Token
from stream_worker.tokens import Sampling
from tests.unit.inference.tiny import chosen, generate, reference, stepper

_SAMPLING = Sampling(max_new_tokens=8)
_PROMPTS = {"a": tuple(range(2, 50)), "b": (9, 8), "c": (7,)}


class Tight:
    """A runner that has memory for so many rows; or that raises what it is told to."""

    def __init__(self, runner: Runner, error: Exception) -> None:
        self._runner = runner
        self.error = error
        self.rows = 1_000
        self.level = runner.level
        self.is_exact = runner.is_exact
        self.block_bytes = runner.block_bytes
        self.copy_block = runner.copy_block
        self.seen: list[int] = []

    def run(self, segments: Sequence[Segment]) -> list[Next]:
        rows = sum(len(segment.ids) for segment in segments)
        self.seen.append(rows)
        if rows > self.rows:
            raise self.error
        return self._runner.run(segments)


def cpu_error() -> RuntimeError:
    """The one that torch really raises on a CPU."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


def tight(error: Exception) -> tuple[TorchStepper, Tight]:
    ready = chosen("llama", "auto")
    runner = Tight(ready.runner, error)
    return stepper(runs=replace(ready, runner=runner)), runner


def run(engine: TorchStepper) -> dict[str, Result]:
    """The end of each request; of conversations that are new."""
    for name in _PROMPTS:
        engine.forget(Forget(conversation=name))
    for name, ids in _PROMPTS.items():
        engine.add(generate(name, ids, _SAMPLING))
    ends: dict[str, Result] = {}
    while engine.seconds_until_ready() == 0:
        ends |= {result.ref.turn_id: result for result in engine.step() if not isinstance(result, Token)}
    return ends


@pytest.mark.parametrize("error", [cpu_error(), torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_without_memory_the_batch_is_halved_until_it_fits_and_no_request_fails(error: Exception) -> None:
    engine, runner = tight(error)
    assert all(isinstance(result, Generated) for result in run(engine).values())
    runner.rows, runner.seen = 2, []
    for name, result in run(engine).items():
        assert isinstance(result, Generated)
        assert result.ids == reference("llama", _PROMPTS[name], _SAMPLING.max_new_tokens)
    # Nothing is tried again that is known to fail.
    assert sum(rows > runner.rows for rows in runner.seen) < 8
    assert engine.kv_tokens == 0


def test_after_a_while_a_step_is_as_large_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_worker.inference.torch_engine._STEPS_UNTIL_MORE", 2)
    engine, runner = tight(MemoryError())
    runner.rows = 1
    run(engine)
    runner.rows, runner.seen = 1_000, []
    run(engine)
    run(engine)
    assert max(runner.seen) > 16


def test_a_request_that_does_not_fit_alone_is_the_engines_fault_and_names_the_setting() -> None:
    engine, runner = tight(MemoryError())
    runner.rows = 0
    for failed in run(engine).values():
        assert isinstance(failed, Failed)
        assert failed.fault is Fault.ENGINE
        assert "engine.kv_cache_bytes" in failed.message
    runner.rows = 1_000
    assert all(isinstance(result, Generated) for result in run(engine).values())


def test_another_error_of_the_model_is_not_taken_for_it() -> None:
    engine, runner = tight(RuntimeError("shapes do not match"))
    runner.rows = 0
    with pytest.raises(RuntimeError, match="shapes"):
        run(engine)


def test_a_request_whose_logits_are_not_finite_fails_alone() -> None:
    ready = chosen("llama", "auto")

    class Broken(Tight):
        def run(self, segments: Sequence[Segment]) -> list[Next]:
            given = super().run(segments)
            return [
                replace(one, likeliest=-1) if segment.ids[-1] == _PROMPTS["b"][-1] else one
                for one, segment in zip(given, [each for each in segments if each.samples], strict=True)
            ]

    ends = run(stepper(runs=replace(ready, runner=Broken(ready.runner, MemoryError()))))
    assert isinstance(ends["b"], Failed)
    assert ends["b"].fault is Fault.EVENT
    assert all(isinstance(ends[name], Generated) for name in ("a", "c"))


def test_a_request_whose_sampling_raises_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("stream_worker.inference.sampling.Sampler.choose", broken)
    engine = stepper()
    engine.add(generate("drawn", (5, 6), Sampling(max_new_tokens=4, temperature=1.0)))
    engine.add(generate("greedy", (5, 6), Sampling(max_new_tokens=4)))
    ends: dict[str, Result] = {}
    while engine.seconds_until_ready() == 0:
        ends |= {result.ref.turn_id: result for result in engine.step() if not isinstance(result, Token)}
    assert isinstance(ends["drawn"], Failed)
    assert isinstance(ends["greedy"], Generated)
    assert engine.kv_tokens == 0
