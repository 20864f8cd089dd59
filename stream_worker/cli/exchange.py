"""One message and what comes of it, as a person sees it: deltas as they are generated, then the evidence.

The records of one settled event come from four topics in any order; an
exchange is over when the event's metric is there, and where that names a
reply its reply and analysis, too.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.decode import identity
from stream_worker.contracts.delta import Delta, DeltaState
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.errors import Code, Missing
from stream_worker.kafka.event_sender import Place
from stream_worker.kafka.gateway import Gateway, Published
from stream_worker.outcome import Outcome


@dataclass(slots=True)
class Exchange:
    """What was published for one event: its metric by where the event was written, all else by the turn it began."""

    place: Place
    turn_id: str
    expects_analysis: bool = True
    metric: EventMetric | None = None
    reply: Reply | None = None
    analysis: Analysis | None = None
    attempt: tuple[int, int] = (0, 0)
    shown: str = ""

    @property
    def is_over(self) -> bool:
        if self.metric is None:
            return False
        if self.metric.reply_id is None:
            return True
        answered = self.metric.outcome is not Outcome.DEAD_LETTERED and self.expects_analysis
        return self.reply is not None and (self.analysis is not None or not answered)

    def take(self, published: Published) -> str:
        """Notes a record; returns the text that is to be shown now."""
        match published:
            case EventMetric():
                if (published.partition, published.offset) == (self.place.partition, self.place.offset):
                    self.metric = published
            case Reply() if published.turn_id == self.turn_id:
                self.reply = published
            case Analysis() if published.turn_id == self.turn_id:
                self.analysis = published
            case Delta() if published.turn_id == self.turn_id:
                return self._preview(published)
        return ""

    def _preview(self, delta: Delta) -> str:
        attempt = (delta.term, delta.attempt)
        if attempt < self.attempt or delta.state is DeltaState.VOID:
            return ""
        again = ""
        if attempt > self.attempt:
            again = "\n(again) " if self.shown else ""
            self.attempt, self.shown = attempt, ""
        if delta.at != len(self.shown):
            return ""
        self.shown += delta.text
        return again + delta.text


class Conversation:
    """A chat with one worker group, on a terminal or a pipe."""

    def __init__(
        self,
        gateway: Gateway,
        console: Console,
        conversation_id: str,
        *,
        tenant: str,
        explain: bool,
        expects_analysis: bool,
    ) -> None:
        self._gateway = gateway
        self._console = console
        self._id = conversation_id
        self._tenant = tenant
        self._explain = explain
        self._expects_analysis = expects_analysis
        self.exchanges: list[tuple[str, Exchange]] = []

    @property
    def id(self) -> str:
        return self._id

    def say(self, text: str, timeout_s: float) -> Exchange:
        """Sends a message, shows what comes, and returns it. Raises Missing when nothing comes."""
        exchange = self._send({"sender": {"id": "you"}, "text": text})
        self._console.print("[bold cyan]bot[/] ", end="")
        self._await(exchange, timeout_s)
        self._show_end(exchange)
        self.exchanges.append((text, exchange))
        return exchange

    def signal(self, kind: str, timeout_s: float) -> EventMetric:
        """Sends an event that nobody answers, and says how it ended. Raises Missing when nothing comes."""
        exchange = self._send({"type": kind})
        self._await(exchange, timeout_s)
        assert exchange.metric is not None
        return exchange.metric

    def _send(self, fields: Mapping[str, object]) -> Exchange:
        event_id = uuid4().hex
        event = {"conversation_id": self._id, "tenant": self._tenant, "message_id": event_id, **fields}
        key = f"{self._tenant}/{self._id}" if self._tenant else self._id
        place = self._gateway.send(key, event)
        return Exchange(place, identity(key, "", event_id), self._expects_analysis)

    def _await(self, exchange: Exchange, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not exchange.is_over:
            if time.monotonic() > deadline:
                raise Missing(
                    Code.NO_ANSWER,
                    f"nothing came of {exchange.place} within {timeout_s:.0f} s: is a worker running? See "
                    "`stream-worker status`",
                )
            published = self._gateway.receive(0.1)
            if published is not None and (text := exchange.take(published)):
                self._console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    def _show_end(self, exchange: Exchange) -> None:
        metric, reply = exchange.metric, exchange.reply
        assert metric is not None
        if reply is None:
            self._console.print(f"[dim]{_WITHOUT_REPLY.get(metric.outcome, metric.outcome.value)}[/]")
        elif reply.text != exchange.shown:
            # The reply is the truth: it replaces what was shown.
            lead = "\n" if exchange.shown else ""
            self._console.print(lead + reply.text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._console.print()
        self._console.print(f"[dim]    {summary(exchange)}[/]", soft_wrap=True)
        if self._explain and exchange.analysis is not None:
            for line in evidence(exchange.analysis):
                self._console.print(f"[dim]    {line}[/]", soft_wrap=True)


_WITHOUT_REPLY = {
    Outcome.SILENT: "(silent: a human has this conversation)",
    Outcome.DUPLICATE: "(a duplicate)",
    Outcome.EXPIRED: "(expired)",
    Outcome.WITHDRAWN: "(withdrawn)",
    Outcome.SHED: "(too many messages are waiting)",
    Outcome.DEAD_LETTERED: "(it could not be answered and went to the dead letters)",
}


def summary(exchange: Exchange) -> str:
    """One line: intent, slots (carried ones marked), timings."""
    metric, analysis = exchange.metric, exchange.analysis
    assert metric is not None
    words = []
    if analysis is not None:
        words.append(_intent(analysis))
        words += [f"{slot.name}={slot.value}{' (carried)' if slot.carried else ''}" for slot in analysis.slots]
    if metric.reason is not None:
        words.append(metric.reason.value)
    timings = metric.timings
    if metric.tokens.generated:
        words.append(f"first token {timings.queued + timings.first_token:.2f} s")
        words.append(f"{metric.tokens.generated} tokens in {timings.generate:.2f} s")
    words.append(f"{timings.total:.2f} s in all")
    return escape(" · ".join(words))


def _intent(analysis: Analysis) -> str:
    if analysis.intent is None:
        return "no intent"
    best = analysis.intents[0]
    return f"{best.name} {best.score:.2f}" if best.name == analysis.intent else f"{analysis.intent} (carried)"


def evidence(analysis: Analysis) -> list[str]:
    """How the turn was understood and generated, a line each."""
    lines = [f"language {analysis.language} · decision {analysis.decision}"]
    if analysis.intents:
        best = ", ".join(f"{item.name} {item.score:.2f}" for item in analysis.intents[:3])
        lines.append(f"scores: {best}{'' if analysis.in_scope else ' (out of scope)'}")
    if (generation := analysis.generation) is not None:
        new = generation.prompt_tokens - generation.cached_tokens
        lines.append(
            f"prompt {generation.prompt_tokens} tokens: {generation.cached_tokens} cached, {new} new · "
            f"prompt hash {generation.prompt_hash[:12]} · seed {generation.seed}"
        )
    if analysis.checks:
        lines.append(f"checks: {', '.join(analysis.checks)}")
    return [escape(line) for line in lines]
