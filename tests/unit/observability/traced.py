"""A worker that traces into memory, with an encoder and a call that take their time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream_worker.bot.loader import load_bot
from stream_worker.clock import ManualClock
from stream_worker.inference.device import InlineDevice
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import Label
from stream_worker.observability.metrics import Metrics
from stream_worker.orders import Call, Called, Encode, Encoded, IntentScore, Result, TurnRef
from stream_worker.reporter import Reporter
from stream_worker.tracing import Tracing
from tests.unit.worker.rig import Rig, settings

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CANARY = "canary-31c7"
_BOT = """
bot: shop
version: "7"
understanding: heads
error_reply: "Sorry."
fallback: {reply: model}
intents:
  weather:
    call: [{name: sky, url: "https://sky.example.org/"}]
    reply: model
sampling: {max_new_tokens: 20, temperature: 0.5, top_p: 0.9}
"""


class _Knows:
    """An encoder that takes a quarter of a second."""

    clock = ManualClock()

    def encode(self, orders: list[Encode]) -> list[Result]:
        self.clock.advance(0.25)
        scores = (IntentScore("weather", 0.75),)
        return [
            Encoded(ref=each.ref, intents=scores, in_scope=True, scope=0.9, slots=(), batch_size=1, seconds=0.25)
            for each in orders
        ]


class _Sky:
    """Calls take an eighth of a second."""

    def __init__(self, report: Callable[[Result], None], clock: Callable[[], ManualClock]) -> None:
        self._report, self._clock = report, clock

    def submit(self, order: Call) -> None:
        self._clock().advance(0.125)
        self._report(Called(ref=order.ref, number=order.number, result={"t": 20}, seconds=0.125))

    def cancel(self, ref: TurnRef, calls: int) -> None: ...


class Traced:
    """A rig whose worker traces into memory, or to an exporter."""

    def __init__(
        self,
        folder: Path,
        exporter: SpanExporter | None = None,
        *,
        more_of_bot: str = "",
        seconds: float = 0.01,
        **traces: Any,
    ) -> None:
        """`seconds` of a token; `more_of_bot` is added to the bot's file."""
        configured = settings(
            traces={"enabled": True, **traces},
            calls={"allowed_hosts": ["sky.example.org"]},
            admission={"max_turn_ms": 10_000},
        )
        file = folder / "bot.yaml"
        file.write_text(_BOT + more_of_bot)
        self.memory = InMemorySpanExporter()
        self.metrics = Metrics({Label.TOPIC: [configured.topics.events]})
        self._exporter = exporter or self.memory
        self._settings = configured
        encoder = _Knows()
        self.rig = Rig(
            configured,
            bot=load_bot(file, configured),
            encoder=encoder,
            caller=lambda report: _Sky(report, lambda: self.rig.clock),
            listening=self._listen,
            seconds=lambda _: seconds,
        )
        encoder.clock = self.rig.clock
        self.rig.start()
        self.rig.run(0.5)

    def _listen(self, engine: InlineDevice, clock: ManualClock) -> Reporter:
        self.tracing = Tracing(self._settings, "tiny", self._exporter, client_id="shop-0-cpu")
        return Reporter(self._settings, self.metrics, HealthBoard(clock), engine, clock, self.tracing)

    def say(self, traceparent: str = f"00-{TRACE}-{PARENT}-01", **fields: Any) -> dict[str, ReadableSpan]:
        """The spans of one message, by their names."""
        self.send(traceparent, **fields)
        return {span.name: span for span in self.ended()}

    def send(self, traceparent: str = f"00-{TRACE}-{PARENT}-01", **fields: Any) -> None:
        headers = (("traceparent", traceparent.encode()),) if traceparent else ()
        self.rig.send("c-1", headers=headers, **{"message_id": "m-1", "text": f"weather {CANARY}", **fields})

    def ended(self, seconds: float = 2.0) -> tuple[ReadableSpan, ...]:
        """All spans there are after so long."""
        self.rig.run(seconds)
        self.tracing.close()
        return self.memory.get_finished_spans()


def tree(spans: Sequence[ReadableSpan]) -> str:
    """As the docs print them: children below their parent, in the order of their starts."""
    known = {span.context.span_id for span in spans if span.context is not None}

    def below(parent: int | None, depth: int) -> Iterator[str]:
        for span in sorted(spans, key=lambda each: (each.start_time or 0, each.name)):
            above = span.parent.span_id if span.parent is not None and span.parent.span_id in known else None
            if above != parent or span.context is None:
                continue
            took = ((span.end_time or 0) - (span.start_time or 0)) // 1_000_000
            yield f"{'  ' * depth + span.name:<32}{span.kind.name.lower():<12}{took:>4} ms"
            yield from below(span.context.span_id, depth + 1)

    return "\n".join(below(None, 0)) + "\n"
