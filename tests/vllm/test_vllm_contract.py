"""The contract of engines, kept by vLLM in this process; its CPU build, and the real model in float32."""

import json
from collections.abc import Iterator

import pytest

from stream_worker.cache import cache_folder
from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import SystemClock
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.engine import Report
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.split import SplitEngine
from stream_worker.inference.stepper import NoStepper
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.inference.vllm_engine import VllmSource, vllm_source
from stream_worker.orders import Failed, Generate, Generated, Token
from stream_worker.outcome import DeadLetterReason
from stream_worker.settings.engine import EngineSettings, VllmSettings
from stream_worker.tokens import PromptIds, Sampling
from tests.engine_contract import DEADLINE_S, EngineContract, Rig, ref

# vLLM takes minutes to start where others use the machine, too.
pytestmark = pytest.mark.timeout(1_800)

SHARED = tuple(range(100, 260))


class _Live:
    """vLLM takes a minute to load: one for all tests, on one loop. Each test has an engine over it."""

    def __init__(self) -> None:
        files = resolve_model(BUILT_IN, None, cache_folder("models"), print)
        tokenizer = load_tokenizer(files.folder)
        settings = EngineSettings(
            kind="vllm",
            dtype="float32",
            max_context_tokens=512,
            max_batch=8,
            kv_cache_bytes=1 << 28,
            vllm=VllmSettings(extra_arguments={"enforce_eager": True}),
        )
        self.io = IoThread(SystemClock())
        self.source = vllm_source(files, settings, tokenizer.decode, tokenizer.chat_format().end_ids, on_cpu=True)

    def close(self) -> None:
        self.source.shut_down()
        self.io.close(DEADLINE_S)


class Kept:
    """A source that outlives its engine."""

    def __init__(self, source: VllmSource) -> None:
        self._source = source
        self.capabilities = source.capabilities
        self.stream = source.stream

    @property
    def kv_usage(self) -> float:
        return self._source.kv_usage

    async def live(self) -> None: ...


class InProcess:
    def __init__(self, report: Report, live: _Live) -> None:
        device = DeviceThread(Models(stepper=NoStepper, encoder=lambda: None), report, SystemClock())
        device.wait_ready(DEADLINE_S)
        self.engine = SplitEngine(device, StreamingEngine(Kept(live.source), live.io, report, SystemClock(), 64))

    def close(self) -> None:
        self.engine.close(DEADLINE_S)


@pytest.fixture(scope="module")
def live() -> Iterator[_Live]:
    live = _Live()
    yield live
    live.io.check()
    live.close()


class TestVllm(EngineContract):
    @pytest.fixture
    def rig(self, live: _Live) -> Iterator[Rig]:
        rig = Rig(lambda report: InProcess(report, live))
        yield rig
        rig.made.close()

    def test_a_prefix_is_found_again_by_its_own_tenant_only(self, rig: Rig) -> None:
        def ask(name: str, scope: str) -> int:
            prompt = PromptIds(ids=(*SHARED, len(name)))
            sampling = Sampling(max_new_tokens=2)
            order = Generate(
                ref=ref(name), conversation=name, prompt=prompt, sampling=sampling, seed=1, cache_scope=scope
            )
            rig.run(order)
            end = rig.of(name)[-1]
            assert isinstance(end, Generated)
            return end.usage.cached

        assert ask("first", "tenant/a") == 0
        assert ask("second", "tenant/a") >= 128
        assert ask("third one", "tenant/b") == 0

    def test_a_reply_in_json_is_json(self, rig: Rig) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        rig.run(rig.order("json", Sampling(max_new_tokens=64, json_schema=json.dumps(schema))))
        end = rig.of("json")[-1]
        assert isinstance(end, Generated | Failed)
        if isinstance(end, Generated):
            assert isinstance(json.loads(end.text)["n"], int)
        else:
            assert end.reason is DeadLetterReason.SCHEMA_NOT_MET

    def test_a_stop_string_ends_the_reply_before_it(self, rig: Rig) -> None:
        rig.run(rig.order("plain", Sampling(max_new_tokens=24)))
        whole = rig.of("plain")[-1]
        assert isinstance(whole, Generated)
        stop = whole.text[len(whole.text) // 2 :][:4]
        rig.results.clear()
        rig.run(rig.order("plain", Sampling(max_new_tokens=24, stop=(stop,))))
        cut = rig.of("plain")[-1]
        assert isinstance(cut, Generated)
        assert cut.text == whole.text[: whole.text.index(stop)]
        assert "".join(token.text for token in rig.of("plain") if isinstance(token, Token)) == cut.text

    def test_requests_that_can_never_run_fail_alone(self, rig: Rig) -> None:
        good = rig.order("good", Sampling(max_new_tokens=4))
        prompts = {"foreign": (5, 10_000_000), "empty": (), "too long": (5,) * 512, "negative": (-1,)}
        bad = [
            Generate(
                ref=ref(name), conversation="c", prompt=PromptIds(ids=ids), sampling=Sampling(), seed=0, cache_scope=""
            )
            for name, ids in prompts.items()
        ]
        schema = rig.order("schema", Sampling(json_schema='{"type": "strange"}'))
        rig.run(good, schema, *bad)
        assert all(isinstance(rig.of(name)[-1], Failed) for name in (*prompts, "schema"))
        assert isinstance(rig.of("good")[-1], Generated)
