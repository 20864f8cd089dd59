"""The consumer of the input topic, on confluent-kafka.

An exception inside a rebalance callback would be swallowed by the client or
raised in the middle of its bookkeeping; so it is kept, the partitions are
dropped, and it is raised when the call that served the callback returns.

The client takes any call of `incremental_unassign` for the answer to a
revocation that waits to be served: it would tell the group that partitions
are free which the worker still has. So it is called in the callback, and
nowhere else. A partition that was assigned is not told to the client before
its first offset is known; nothing of it is fetched until then.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import methodcaller

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_worker.errors import ClientsBroken, Code, StreamWorkerError
from stream_worker.kafka.client_settings import ClientSettings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.faults import ends_consumer
from stream_worker.kafka.protocols import Membership, RebalanceListener
from stream_worker.kafka.unreadable import UnreadableBatches
from stream_worker.record import Headers, Record


class KafkaSubscription:
    def __init__(self, settings: ClientSettings, topic: str) -> None:
        self._consumer = make_consumer(settings)
        self._is_static = "group.instance.id" in settings
        self._topic = topic
        self._assigned: set[int] = set()
        self._read_from: dict[int, int] = {}
        self._failure: Exception | None = None
        self._unreadable = UnreadableBatches(topic)
        self._listener: RebalanceListener | None = None
        self._closed = False
        self._in_call = False
        """The client is serving callbacks: what it has handed out so far has not been returned yet."""

    def join(self, listener: RebalanceListener) -> None:
        self._listener = listener
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def take(self, limit: int, wait_s: float) -> list[Record]:
        with self._calling(), _client_errors():
            # `consume(n, t)` would wait t for a full batch; so wait for one, then take what is there.
            first = self._consumer.poll(wait_s)
            more = self._consumer.consume(limit - 1, 0) if first is not None and limit > 1 else ()
        self._raise_failure()
        if first is None:
            return []
        return [record for message in (first, *more) if (record := self._record(message)) is not None]

    def start_at(self, partition: int, offset: int) -> None:
        if partition not in self._assigned:
            return
        place = TopicPartition(self._topic, partition, offset)
        with _client_errors():
            self._consumer.incremental_assign([place])
            # It may have been paused when it was ours the last time.
            self._consumer.resume([place])
        self._read_from[partition] = offset

    def pause(self, partitions: Sequence[int]) -> None:
        with _client_errors():
            self._consumer.pause(self._places(partitions))

    def resume(self, partitions: Sequence[int]) -> None:
        with _client_errors():
            self._consumer.resume(self._places(partitions))

    def unreadable(self) -> dict[int, str]:
        return self._unreadable.take()

    def position(self, partition: int) -> int | None:
        if self._in_call or partition not in self._read_from:
            return None
        with _client_errors():
            offset: int = self._consumer.position([TopicPartition(self._topic, partition)])[0].offset
        return offset if offset >= 0 else None

    def high_watermark(self, partition: int) -> int | None:
        with _client_errors():
            marks = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return marks[1] if marks is not None and marks[1] >= 0 else None

    def membership(self) -> Membership | None:
        try:
            metadata = self._consumer.consumer_group_metadata()
        except (KafkaException, RuntimeError):
            return None
        return Membership(metadata) if _is_member(metadata) else None

    def leave(self, deadline_s: float) -> None:
        """A static member does not leave on close: the partitions are given back by unsubscribing first.

        The client leaves in a thread of its own when all is unassigned. Closed before that, it would not leave at all.
        """
        with self._calling(), _client_errors():
            self._consumer.unsubscribe()
            for _ in range(max(1, int(deadline_s / 0.05))):
                if not self._assigned and not (self._is_static and self.membership()):
                    break
                self._consumer.poll(0.05)
        self._raise_failure()
        self._listener = None
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._listener = None
            with _client_errors():
                self._consumer.close()

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = [place.partition for place in places]

        def assign() -> None:
            consumer.incremental_assign([])
            self._assigned.update(partitions)
            if self._listener is not None and partitions:
                self._listener.assigned(partitions)

        self._keeping_failure(assign)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._let_go(consumer, places, lambda listener, partitions: listener.revoked(partitions))

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._let_go(consumer, places, lambda listener, partitions: listener.lost(partitions))

    def _let_go(
        self,
        consumer: Consumer,
        places: list[TopicPartition],
        tell: Callable[[RebalanceListener, Sequence[int]], None],
    ) -> None:
        partitions = [place.partition for place in places]

        def let_go() -> None:
            try:
                if self._listener is not None and partitions:
                    tell(self._listener, partitions)
            finally:
                started = [place for place in places if self._read_from.pop(place.partition, None) is not None]
                self._assigned.difference_update(partitions)
                consumer.incremental_unassign(started)

        self._keeping_failure(let_go)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        self._in_call = True
        try:
            yield
        finally:
            self._in_call = False

    def _keeping_failure(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - it is raised again when the client's call has returned
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if isinstance(failure, KafkaException):
            raise _translated(failure) from failure
        if failure is not None:
            raise failure

    def _record(self, message: Message) -> Record | None:
        if (error := message.error()) is not None:
            self._judge(error)
            self._unreadable.note(message, error)
            return None
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None or partition not in self._read_from:
            return None
        headers = headers_of(message)
        return Record(
            self._topic,
            partition,
            offset,
            message.timestamp()[1],
            message.key(),
            message.value(),
            headers or (),
            headers_readable=headers is not None,
        )

    def _judge(self, error: KafkaError) -> None:
        if (ours := ends_consumer(error)) is not None:
            raise ours
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ClientsBroken(
                Code.OFFSET_BELOW_START,
                f"the next record to read is no longer in the topic, or the client lost its place in a damaged batch: "
                f"{error.str()}",
            )

    def _places(self, partitions: Sequence[int]) -> list[TopicPartition]:
        """Of those that were started: of the others nothing is fetched."""
        return [TopicPartition(self._topic, partition) for partition in partitions if partition in self._read_from]


#: By a call that checks its result: the client may return headers and leave an error set, which a plain call, once it
#: is hot, hands on to whatever comes next.
_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers | None:
    """None where a header's name is not UTF-8: the client decodes names, and fails with a SystemError."""
    try:
        headers = _headers(message)
    except (SystemError, UnicodeDecodeError):
        return None
    return tuple(headers) if headers else ()  # read as a list of pairs of bytes, always


def _is_member(metadata: object) -> bool:
    """Whether the metadata names a member: with an empty member id the broker would fence nobody.

    The client's form is `CGMDv2:`, four bytes of generation, then group id, member id and instance id, each ended
    by a zero byte.
    """
    raw = bytes(metadata)  # type: ignore[call-overload]
    if raw[7:11] == b"\xff\xff\xff\xff":
        return False
    fields = raw[11:].split(b"\0")
    return len(fields) > 1 and bool(fields[1])


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise _translated(error) from error


def _translated(error: KafkaException) -> StreamWorkerError:
    cause: KafkaError = error.args[0]
    return ends_consumer(cause) or ClientsBroken(
        Code.CLIENTS_BROKEN, f"the consumer failed ({cause.name()}): {cause.str()}"
    )
