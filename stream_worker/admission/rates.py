"""How many messages of one sender, or one tenant, are taken. Pure; time is the record's timestamp.

Token buckets, each kept as the one number of the generic cell rate algorithm
(ITU-T I.371): the time at which the bucket will be full again. They are this
worker's own: exact for a sender who writes in one conversation, for that has
one owner; a sender who writes in conversations of several workers has as much
with each. A tenant's rate is for the group, and each worker takes the share
of its partitions. A bucket is full again for a partition's new owner, and
after a restart.
"""

from collections import OrderedDict

from stream_worker.contracts.decode import Arrival
from stream_worker.settings.admission import AdmissionSettings

_MINUTE_MS = 60_000
_BUCKETS = 100_000
"""Senders that are remembered; of more than that those who were silent the longest start with a full bucket."""


class Buckets:
    """One bucket a name: `rate` tokens a minute (0: no limit), `burst` at once."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._full_at: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        """By name: when the bucket is full again, and the newest time that was asked for."""

    def take(self, name: tuple[str, str], now_ms: int, share: float = 1.0) -> bool:
        """Takes a token, where one is there. `share`: the part of the rate and burst that is ours.

        Partitions are not read in step: what is older than the newest is judged at the newest's time, and what is far
        older, a backlog of another partition, is let through.
        """
        if not self._rate:
            return True
        interval = _MINUTE_MS / (self._rate * share)
        full_at, newest = self._full_at.get(name, (0.0, now_ms))
        if now_ms < newest - _MINUTE_MS:
            return True
        now_ms = max(now_ms, newest)
        full_at = max(full_at, float(now_ms))
        if full_at - now_ms > max(1.0, self._burst * share) * interval - interval:
            return False
        self._full_at[name] = (full_at + interval, now_ms)
        self._full_at.move_to_end(name)
        if len(self._full_at) > _BUCKETS:
            self._full_at.popitem(last=False)
        return True


class Rates:
    def __init__(self, settings: AdmissionSettings) -> None:
        self._senders = Buckets(settings.sender_messages_per_minute, settings.sender_burst)
        self._tenants = Buckets(settings.tenant_messages_per_minute, settings.tenant_burst)
        self._asked: dict[int, int] = {}
        """By partition: one past the last offset that was asked for. What is read again has its token."""

    def admit(self, arrival: Arrival, share: float) -> bool:
        """Whether a user's message is within the limits; `share` of the group's partitions is ours."""
        event, now_ms = arrival.event, arrival.record.timestamp_ms
        partition, offset = arrival.record.partition, arrival.offset
        if offset < self._asked.get(partition, 0):
            return True
        self._asked[partition] = offset + 1
        sender = getattr(event, "sender", None)
        if sender is not None and not self._senders.take((event.tenant, sender.id), now_ms):
            return False
        return self._tenants.take((event.tenant, ""), now_ms, share)
