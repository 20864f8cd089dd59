"""The contract of engines, kept over a real model server: vLLM's, with the real model, as a child process."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from pydantic import SecretStr

from stream_worker.cache import cache_folder
from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import SystemClock
from stream_worker.inference.engine import Report
from stream_worker.inference.models import BUILT_IN, resolve_model
from stream_worker.inference.openai_engine import OpenAiSource
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.orders import Failed, Fault, Generated
from stream_worker.settings.engine import OpenAiSettings
from stream_worker.tokens import Sampling
from tests.engine_contract import DEADLINE_S, EngineContract, Rig
from tests.eventually import eventually

# vLLM takes minutes to start where others use the machine, too.
pytestmark = pytest.mark.timeout(1_800)

PORT = 18_743
KEY = "the-key"
MODEL = "smollm2"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    python = Path(os.environ["STREAM_WORKER_TEST_VLLM"])
    folder = resolve_model(BUILT_IN, None, cache_folder("models"), print).folder
    options = ["--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--served-model-name", MODEL]
    options += ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--kv-cache-memory-bytes", str(1 << 28)]
    # Not the command `vllm`: it asks for the version of a package that the CPU build's has another name than.
    server_module = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command = [*server_module, "--host", "127.0.0.1", "--port", str(PORT), "--api-key", KEY, *options]
    server = subprocess.Popen(command)
    try:
        eventually(lambda: server.poll() is not None or _answers(f"http://127.0.0.1:{PORT}/health"), 1_200)
        assert server.poll() is None, "the server did not start"
        yield f"http://127.0.0.1:{PORT}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        return bool(urlopen(url, timeout=5).status == 200)
    except (URLError, OSError):
        return False


class Asking:
    def __init__(self, report: Report, base_url: str, model: str = MODEL, key: str = KEY) -> None:
        self._io = IoThread(SystemClock())
        settings = OpenAiSettings(base_url=base_url, api_key=SecretStr(key), salted_cache=True)
        source = OpenAiSource(settings, model=model, max_context_tokens=512)
        self.engine = StreamingEngine(source, self._io, report, SystemClock(), 8)

    def close(self) -> None:
        self.engine.close(DEADLINE_S)
        self._io.close(DEADLINE_S)


class TestServer(EngineContract):
    @pytest.fixture
    def rig(self, base_url: str) -> Iterator[Rig]:
        rig = Rig(lambda report: Asking(report, base_url))
        yield rig
        rig.made.close()

    def test_a_reply_in_json_is_json(self, rig: Rig) -> None:
        properties = {"sunny": {"type": "boolean"}}
        schema = {"type": "object", "properties": properties, "required": ["sunny"], "additionalProperties": False}
        rig.run(rig.order("json", Sampling(max_new_tokens=64, json_schema=json.dumps(schema))))
        end = rig.of("json")[-1]
        assert isinstance(end, Generated), end
        assert isinstance(json.loads(end.text)["sunny"], bool)

    def test_a_prefix_is_found_again(self, rig: Rig) -> None:
        question = "Please repeat after me: " + "all work and no play makes a dull day. " * 24
        rig.run(rig.order(question, Sampling(max_new_tokens=2)))
        rig.results.clear()
        rig.run(rig.order(question, Sampling(max_new_tokens=2)))
        end = rig.of(question)[-1]
        assert isinstance(end, Generated)
        assert end.usage.cached >= 128  # a block of its CPU build

    def test_a_prompt_that_is_too_long_fails_alone(self, rig: Rig) -> None:
        rig.run(rig.order("word " * 2_000, Sampling(max_new_tokens=2)), rig.order("good", Sampling(max_new_tokens=2)))
        failed = rig.of("word " * 2_000)[-1]
        assert isinstance(failed, Failed)
        assert failed.fault is Fault.EVENT
        assert isinstance(rig.of("good")[-1], Generated)

    @pytest.mark.parametrize(("model", "key"), [("another", KEY), (MODEL, "wrong")])
    def test_a_wrong_model_or_key_is_the_configurations_fault(self, base_url: str, model: str, key: str) -> None:
        rig = Rig(lambda report: Asking(report, base_url, model, key))
        rig.run(rig.order("any", Sampling(max_new_tokens=2)))
        failed = rig.of("any")[-1]
        assert isinstance(failed, Failed)
        assert failed.fault is Fault.CONFIGURATION
        rig.made.close()
