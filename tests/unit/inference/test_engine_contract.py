"""The contract of engines, kept by those that need nothing but this environment."""

from collections.abc import Callable, Iterator

import pytest

from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import SystemClock
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.engine import Report
from stream_worker.inference.openai_engine import OpenAiSource
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.split import SplitEngine
from stream_worker.inference.stepper import NoStepper, Stepper
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.orders import Failed, Generate, Generated
from stream_worker.settings.engine import OpenAiSettings
from stream_worker.tokens import PromptIds, Sampling
from tests.engine_contract import DEADLINE_S, Closable, EngineContract, Rig, ref
from tests.unit.inference.model_server import ModelServer
from tests.unit.inference.tiny import stepper


class OnDevice:
    """A stepper on the device thread."""

    def __init__(self, report: Report, make: Callable[[], Stepper]) -> None:
        self.engine = DeviceThread(Models(stepper=make, encoder=lambda: None), report, SystemClock())
        self.engine.wait_ready(DEADLINE_S)

    def close(self) -> None:
        self.engine.close(DEADLINE_S)
        assert not self.engine.alive


class Asking:
    """A model server, asked by the I/O thread; texts would be understood on the device."""

    def __init__(self, report: Report) -> None:
        self._server = ModelServer(seconds_per_word=0.002).__enter__()
        self._io = IoThread(SystemClock())
        source = OpenAiSource(OpenAiSettings(base_url=self._server.base_url), model="tiny", max_context_tokens=512)
        device = DeviceThread(Models(stepper=NoStepper, encoder=lambda: None), report, SystemClock())
        device.wait_ready(DEADLINE_S)
        self.engine = SplitEngine(device, StreamingEngine(source, self._io, report, SystemClock(), 8))

    def close(self) -> None:
        self.engine.close(DEADLINE_S)
        self._io.close(DEADLINE_S)
        self._server.__exit__()


ENGINES: dict[str, Callable[[Report], Closable]] = {
    "scripted": lambda report: OnDevice(report, lambda: ScriptedStepper(SystemClock(), seconds=lambda order: 0.001)),
    "torch": lambda report: OnDevice(report, lambda: stepper("llama")),
    "openai": Asking,
}


class TestEngines(EngineContract):
    @pytest.fixture(params=list(ENGINES))
    def rig(self, request: pytest.FixtureRequest) -> Iterator[Rig]:
        rig = Rig(ENGINES[request.param])
        yield rig
        rig.made.close()


def test_requests_that_can_never_run_fail_alone() -> None:
    rig = Rig(ENGINES["torch"])
    good = rig.order("good", Sampling(max_new_tokens=4))
    prompts = {"foreign": (5, 100_000), "empty": (), "too long": (5,) * 256, "negative": (-1,)}
    bad = [
        Generate(
            ref=ref(name), conversation="c", prompt=PromptIds(ids=ids), sampling=Sampling(), seed=0, cache_scope=""
        )
        for name, ids in prompts.items()
    ]
    rig.run(good, *bad)
    assert all(isinstance(rig.of(name)[0], Failed) for name in prompts)
    assert isinstance(rig.of("good")[-1], Generated)
    rig.made.close()
