"""Workers in memory, with other machines that quote what they are sent, and everything that these workers tell."""

import asyncio
import io
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import httpx2
import orjson
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.exposition import generate_latest

from stream_worker.async_runner import AsyncRunner, Job
from stream_worker.bot.loader import load_bot
from stream_worker.calls.http import HttpCaller
from stream_worker.clock import ManualClock, SystemClock
from stream_worker.contracts.dead_letter import PREFIX
from stream_worker.inference.device import InlineDevice
from stream_worker.inference.engine import Engine, Report
from stream_worker.inference.openai_engine import OpenAiSource
from stream_worker.inference.streaming import StreamingEngine
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import Label
from stream_worker.observability.metrics import Metrics
from stream_worker.orders import (
    Encode,
    Encoded,
    IntentScore,
    Result,
    SlotSpan,
)
from stream_worker.reporter import Reporter
from stream_worker.settings.engine import OpenAiSettings
from stream_worker.tracing import Tracing
from tests.unit.worker.rig import MODEL_BOT, Rig, settings

CANARY = "canary-8e02"
_BOT = """
bot: shop
version: "7"
understanding: heads
error_reply: "Sorry."
expired_reply: "Too late."
slots: {{site: {{kind: thing}}}}
fallback: {{reply: model}}
intents:
  weather:
    slots: [site]
    call:
      - {{name: sky, url: "https://sky.example.org/{{{{ site }}}}", parameters: {{q: "{{{{ site }}}}"}}, retries: 0}}
    emit: [{{command: lamp.switch, arguments: {{what: "{{{{ site }}}}"}}}}]
    reply: model
  broken:
    slots: [site]
    reply: {{template: "{{{{ 1 // (0 if 'canary' in (site | default('')) else 1) }}}}"}}
  form:
    reply: {{json_schema: form.json}}
triggers: {{known: {{reply: model}}}}
turn_taking: {{on_new_message: {taking}, merge_window_ms: {window_ms}}}
"""


class _Understands:
    """The first word is the intent, the others are the slot."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        return [
            Encoded(
                ref=each.ref,
                intents=(IntentScore(each.text.split()[0], 0.9),),
                in_scope=True,
                scope=0.9,
                slots=(SlotSpan("site", each.text.partition(" ")[2], each.text.find(" ") + 1, len(each.text), 0.9),),
                batch_size=1,
                seconds=0.01,
            )
            for each in orders
        ]


class _AtOnce:
    """Runs each job to its end when it is started."""

    def start(self, key: Hashable, job: Job) -> None:
        asyncio.run(job())

    def cancel(self, key: Hashable) -> None: ...


class _Machines:
    """The other machines: what they do depends on what was written, which they quote in everything they say."""

    def sky(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        if "raises" in url:
            raise ValueError(f"it cannot be {url}")
        if "refuses" in url:
            raise httpx2.ConnectError(f"nobody listens at {url}", request=request)
        return httpx2.Response(500 if "fails" in url else 200, content=orjson.dumps({"said": url}))

    async def model(self, request: httpx2.Request) -> httpx2.Response:
        text = orjson.loads(request.content)["messages"][-1]["content"]
        error = {"error": {"message": f"no: {text}", "type": f"invalid {text}", "code": f"no {text}"}}
        if "hangs" in text:
            await asyncio.sleep(10_000)
        if "refused" in text:
            return httpx2.Response(400, content=orjson.dumps(error))
        if "too long" in text:
            error["error"]["code"] = "context_length_exceeded"
            return httpx2.Response(400, content=orjson.dumps(error))
        end = "length" if text.startswith("form") else "stop"
        chunk: Any = {"choices": [{"delta": {"content": f"You said {text}"}, "finish_reason": end}]}
        if "odd" in text and not self.recovered:
            chunk = {"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{"logprob": text}]}}]}
        stream = b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    recovered = False


class World:
    """Rigs that report to one log, one registry and one exporter, and what each of these was told."""

    def __init__(self, folder: Path, log: io.StringIO) -> None:
        self._folder = folder
        self.log = log
        self.spans = InMemorySpanExporter()
        self.metrics = Metrics({Label.TOPIC: ["chat.events"], Label.INTENT: ["weather"], Label.CALL: ["sky"]})
        self.machines = _Machines()
        self.rigs: list[Rig] = []
        self._tracings: list[Tracing] = []

    def rig(self, *, taking: str = "queue", window_ms: int = 0, model_server: bool = True, **changes: Any) -> Rig:
        changes = {
            "traces": {"enabled": True},
            "calls": {"allowed_hosts": ["sky.example.org"]},
            "engine": {"kind": "openai"},
            **changes,
        }
        changes["admission"] = {"max_attempts": 2, "retry_backoff_ms": 20, **changes.get("admission", {})}
        configured = settings(**changes)
        (self._folder / "form.json").write_text('{"type": "object", "properties": {"a": {"type": "string"}}}')
        file = self._folder / f"{taking}.yaml"
        file.write_text(_BOT.format(taking=taking, window_ms=window_ms))
        made: Rig

        def listen(engine: InlineDevice, clock: ManualClock) -> Reporter:
            tracing = Tracing(configured, "tiny", self.spans, client_id="shop-0")
            self._tracings.append(tracing)
            return Reporter(configured, self.metrics, HealthBoard(clock), engine, clock, tracing)

        def generator(runner: AsyncRunner, report: Report) -> Engine:
            source = OpenAiSource(
                OpenAiSettings(max_retries=0),
                model="served",
                max_context_tokens=512,
                transport=httpx2.MockTransport(self.machines.model),
            )
            return StreamingEngine(source, runner, report, made.clock, 8)

        made = Rig(
            configured,
            bot=load_bot(file, configured) if model_server else MODEL_BOT,
            encoder=_Understands(),
            caller=lambda report: HttpCaller(
                configured.calls, _AtOnce(), report, SystemClock(), httpx2.MockTransport(self.machines.sky)
            ),
            generator=generator if model_server else None,
            listening=listen,
        )
        self.rigs.append(made)
        return made

    def close(self) -> None:
        for rig in self.rigs:
            for running in rig.workers.values():
                running.io.close()
        for tracing in self._tracings:
            tracing.close()

    def outcomes(self) -> set[str]:
        return {metric["outcome"] for rig in self.rigs for metric in rig.metrics}

    def reasons(self) -> set[str]:
        return {metric["reason"] for rig in self.rigs for metric in rig.metrics if metric["reason"]}

    def sinks(self) -> dict[str, str]:
        """Everything that is no topic of texts, by its name."""
        letters = [letter for rig in self.rigs for letter in rig.broker.read_committed("chat.dead-letters")]
        records = [record for rig in self.rigs for record in rig.broker.read_committed("chat.metrics")]
        assert letters
        return {
            "log": self.log.getvalue(),
            "metrics": generate_latest(self.metrics.registry).decode(),  # type: ignore[no-untyped-call]
            "spans": "".join(span.to_json() for span in self.spans.get_finished_spans()),
            "headers of dead letters": repr(
                [header for letter in letters for header in letter.headers if header[0].startswith(PREFIX)]
            ),
            "chat.metrics": repr([(record.key, record.value, record.headers) for record in records]),
        }

    def leaks(self) -> set[str]:
        return {name for name, content in self.sinks().items() if CANARY in content}
