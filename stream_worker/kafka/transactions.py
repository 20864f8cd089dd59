"""The transactional producer: begin, send, offsets, commit.

Blocking calls get `call_timeout_ms` and are resumed in place while the error
is retriable, nothing polled meanwhile, for at most a third of
`max.poll.interval.ms`; then the clients are given up. A commit whose outcome
is unknown is called again, never aborted.

One call keeps no timeout (librdkafka 2.16, its issues 5456 and 5511): offsets
are sent to a group's coordinator that may be looked for without end after a
broker's restart. It runs on a thread of its own, and counts as unanswered.
"""

import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stream_worker.errors import ClientsBroken, Code, Missing, StreamWorkerError
from stream_worker.kafka.calls import started
from stream_worker.kafka.client_settings import ClientSettings
from stream_worker.kafka.clients import make_producer
from stream_worker.kafka.faults import beyond_repair, group_moved_on, refuses_a_record
from stream_worker.kafka.protocols import Aborted, Batch, CommitResult, Committed, Refused

_START_S = 120.0


class _OutOfTime(Exception):
    """A call was resumed for as long as it may."""


class KafkaTransactions:
    """`beat` is called while a call is resumed, so that nobody takes the worker for dead."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        input_topic: str,
        call_timeout_s: float,
        give_up_s: float,
        beat: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._producer = make_producer(settings)
        self._input_topic = input_topic
        self._call_timeout_s = call_timeout_s
        self._give_up_s = give_up_s
        self._beat = beat
        self._positions: dict[int, int] = {}
        self._failed: KafkaError | None = None
        self._watch_all = False

    def start(self) -> None:
        try:
            self._initialise(_START_S)
        except _OutOfTime as error:
            raise Missing(
                Code.BROKER_UNREACHABLE,
                f"no transaction coordinator answered within {_START_S:.0f} s: check kafka.bootstrap_servers, and that "
                "the broker is up; where it is, that it can hold transactions "
                "(transaction.state.log.replication.factor is not more than there are brokers)",
            ) from error

    def commit(self, batch: Batch, within_s: float | None = None) -> CommitResult:
        give_up_s = self._give_up_s if within_s is None else min(self._give_up_s, within_s)
        deadline = time.monotonic() + give_up_s
        self._positions = {}
        self._failed = None
        try:
            self._producer.begin_transaction()
            self._send(batch, deadline)
            offsets = [
                TopicPartition(self._input_topic, partition, offset) for partition, offset in batch.offsets.items()
            ]
            self._flush(deadline)
            self._resume(deadline, self._send_offsets, deadline, offsets, batch.membership.token)
            self._resume(deadline, self._producer.commit_transaction, self._call_timeout_s)
        except KafkaException as error:
            # "Some messages failed": a report on every record costs a fifth more, so only the next try has them.
            self._watch_all = error.args[0].code() == KafkaError._INCONSISTENT
            return self._abort(self._failed or error.args[0])
        except _OutOfTime as error:
            raise ClientsBroken(
                Code.CLIENTS_BROKEN, f"the broker did not answer a transaction for {give_up_s:.0f} s"
            ) from error
        self._watch_all = False
        return Committed(self._positions)

    def tend(self) -> None:
        """Serves the callbacks of an idle producer, of which there is one: its statistics."""
        self._producer.poll(0)

    def close(self) -> None:
        """Forgets what was queued; an open transaction is ended by whoever starts with our id next."""
        # One that has failed for good says so to every call.
        with suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(0)

    def _send(self, batch: Batch, deadline: float) -> None:
        ledgers = frozenset(batch.ledgers.values())
        otherwise = self._keep_failure if self._watch_all else None
        produce: Callable[..., None] = self._producer.produce
        for index, record in enumerate(batch.records):
            partition = -1 if record.partition is None else record.partition
            on_delivery = self._keep_position if index in ledgers else otherwise
            while True:
                try:
                    produce(
                        record.topic,
                        record.value,
                        record.key,
                        partition,
                        on_delivery=on_delivery,
                        headers=list(record.headers),
                    )
                    break
                except BufferError:
                    self._wait_for_room(deadline)

    def _wait_for_room(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise _OutOfTime
        self._beat()
        self._producer.poll(0.05)

    def _flush(self, deadline: float) -> None:
        while self._producer.flush(self._call_timeout_s) > 0:
            if time.monotonic() > deadline:
                raise _OutOfTime
            self._beat()

    def _keep_position(self, error: KafkaError | None, message: Message) -> None:
        self._keep_failure(error, message)
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self._positions[partition] = offset

    def _keep_failure(self, error: KafkaError | None, _: Message) -> None:
        """Purged records failed because others did."""
        if error is not None and error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            self._failed = self._failed or error

    def _resume(self, deadline: float, call: Callable[..., object], *arguments: object) -> None:
        """Calls again while the error is retriable. Raises KafkaException or _OutOfTime."""
        while True:
            try:
                call(*arguments)
                return
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if not cause.retriable():
                    raise
                if time.monotonic() > deadline:
                    raise _OutOfTime from error
                self._beat()

    def _send_offsets(self, deadline: float, offsets: list[TopicPartition], membership: object) -> None:
        call = started(self._producer.send_offsets_to_transaction, offsets, membership, self._call_timeout_s)
        while not wait([call], self._call_timeout_s).done:
            if time.monotonic() > deadline:
                raise _OutOfTime
            self._beat()
        call.result()

    def _abort(self, cause: KafkaError) -> CommitResult:
        if cause.fatal():
            raise self._broken(cause)
        ours = beyond_repair(cause)
        try:
            self._resume(time.monotonic() + self._give_up_s, self._producer.abort_transaction, self._call_timeout_s)
        except KafkaException as error:
            raise self._broken(error.args[0]) from error
        except _OutOfTime as error:
            raise ClientsBroken(Code.CLIENTS_BROKEN, "the broker did not answer an abort") from error
        if ours is not None:
            raise ours
        moved_on = group_moved_on(cause)
        if not moved_on:
            self._begin_anew()
        if refuses_a_record(cause):
            return Refused(f"{cause.name()}: {cause.str()}")
        return Aborted(f"{cause.name()}: {cause.str()}", moved_on)

    def _begin_anew(self) -> None:
        """Another client in the place of one whose records failed.

        What was refused, or taken back with it, has its number, and the broker never saw it. librdkafka (2.16) goes on
        counting behind it, and when it sees the gap, in a later transaction, the flush there returns only once the
        records' time is over.
        """
        self.close()
        self._producer = make_producer(self._settings)
        try:
            self._initialise(self._give_up_s)
        except _OutOfTime as error:
            raise ClientsBroken(Code.CLIENTS_BROKEN, "the broker did not answer a new producer") from error

    def _initialise(self, within_s: float) -> None:
        """A coordinator that loads, moves or still ends our last transaction is a wait, not an error."""
        try:
            self._resume(time.monotonic() + within_s, self._producer.init_transactions, self._call_timeout_s)
        except KafkaException as error:
            raise self._broken(error.args[0]) from error

    def _broken(self, cause: KafkaError) -> StreamWorkerError:
        return beyond_repair(cause) or ClientsBroken(
            Code.CLIENTS_BROKEN, f"the transactional producer failed ({cause.name()}): {cause.str()}"
        )
