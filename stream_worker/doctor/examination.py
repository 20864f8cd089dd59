"""All groups, in an order in which each can stand on those before it."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stream_worker.doctor.finding import Finding, Group, Mark, Says
from stream_worker.errors import StreamWorkerError
from stream_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Examined:
    """One group's findings, and how long they took."""

    group: Group
    findings: tuple[Finding, ...]
    seconds: float


def examine(settings: Settings, only: Collection[Group], *, write_probe: bool) -> Iterator[Examined]:
    """Looks at one group after the other. Writes nothing, but for `write_probe`."""
    patient = _Patient(settings, write_probe)
    for group, check in patient.checks.items():
        if group in only:
            started = time.monotonic()
            findings = tuple(check())
            yield Examined(group, findings, time.monotonic() - started)


def exit_is_clean(examined: Iterable[Examined], *, strict: bool) -> bool:
    bad = {Mark.ERROR, Mark.WARNING} if strict else {Mark.ERROR}
    return not any(finding.mark in bad for each in examined for finding in each.findings)


class _Patient:
    """What several groups need is asked for once."""

    def __init__(self, settings: Settings, write_probe: bool) -> None:
        self._settings = settings
        self._write_probe = write_probe
        self._admin: Any = None
        self._unreachable: bool | None = None
        self.checks: dict[Group, Callable[[], Iterable[Finding]]] = {
            Group.RUNTIME: self._runtime,
            Group.DEVICE: self._device,
            Group.MODEL: self._model,
            Group.BROKER: self._broker,
            Group.TOPICS: lambda: self._on_cluster(Group.TOPICS),
            Group.RIGHTS: lambda: self._on_cluster(Group.RIGHTS),
            Group.GROUP: lambda: self._on_cluster(Group.GROUP),
            Group.BOT: self._bot,
            Group.WATCHING: self._watching,
        }

    def _runtime(self) -> Iterable[Finding]:
        from stream_worker.doctor import runtime

        return runtime.judge(runtime.gather(self._settings), self._settings)

    def _device(self) -> Iterable[Finding]:
        from stream_worker.doctor import device

        return device.judge(device.gather(self._settings), self._settings)

    def _model(self) -> Iterable[Finding]:
        from stream_worker.doctor import device, model

        on_gpu = self._settings.device != "cpu" and device.gather(self._settings).gpus > 0
        return model.judge(model.gather(self._settings, on_gpu=on_gpu), self._settings)

    def _broker(self) -> Iterator[Finding]:
        from stream_worker.doctor import broker
        from stream_worker.kafka.certificates import client_certificate_expiry
        from stream_worker.kafka.cluster_facts import cluster_facts
        from stream_worker.kafka.listeners import listeners

        found = list(listeners(self._settings))
        yield from broker.judge_listeners(found)
        try:
            yield from broker.judge_own_certificate(client_certificate_expiry(self._settings))
        except StreamWorkerError as error:
            says, cure = Says(Group.BROKER), "set ssl.certificate.location, or ssl.keystore.location and its password"
            yield says.error("client-certificate", str(error), "The worker stops at its start.", cure)
        if all(listener.problem for listener in found):
            self._unreachable = True
            return
        facts = cluster_facts(self._connected())
        self._unreachable = facts.problem is not None
        yield from broker.judge_cluster(facts, self._settings)
        if self._write_probe and not self._unreachable:
            yield self._probe()

    def _probe(self) -> Finding:
        from stream_worker.kafka.write_probe import write_probe

        says = Says(Group.BROKER)
        problem = write_probe(self._settings)
        if problem is None:
            return says.fine("write-probe", "a transaction on the dead-letter topic was written, and taken back")
        why = "The worker could publish nothing."
        return says.error("write-probe", str(problem), why, "stream-worker doctor --only topics,rights")

    def _on_cluster(self, group: Group) -> Iterator[Finding]:
        from stream_worker.doctor import broker
        from stream_worker.kafka.cluster_facts import cluster_facts
        from stream_worker.kafka.edge import identity

        if self._unreachable is None:
            self._unreachable = cluster_facts(self._connected()).problem is not None
        if self._unreachable:
            yield Says(group).skipped("broker", "no broker answers: see the group broker")
            return
        try:
            match group:
                case Group.TOPICS:
                    yield from broker.check_topic_group(self._connected(), self._settings)
                case Group.RIGHTS:
                    yield from broker.check_rights(self._connected(), self._settings)
                case _:
                    who = identity(self._settings, self._settings.device.replace(":", ""), "")
                    yield from broker.check_group(self._connected(), self._settings, who.member)
        except StreamWorkerError as error:
            # What may not be looked at is a finding of the group of rights; here it only could not be looked at.
            yield Says(group).skipped("broker", str(error))

    def _bot(self) -> Iterable[Finding]:
        from stream_worker.doctor import bots

        return bots.check(self._settings)

    def _watching(self) -> Iterable[Finding]:
        from stream_worker.doctor import watching

        return watching.judge(watching.gather(self._settings))

    def _connected(self) -> Any:
        from stream_worker.kafka.topic_admin import connect

        if self._admin is None:
            self._admin = connect(self._settings)
        return self._admin
