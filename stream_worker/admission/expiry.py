"""Whether an event is too old to be answered. Pure."""

from stream_worker.contracts.decode import Arrival


def has_expired(arrival: Arrival, now_ms: int, max_age_ms: int) -> bool:
    """By the sender's `expires_at`, or by the record's age where a limit is set (0 is none)."""
    expires_at = arrival.event.expires_at
    if expires_at is not None and now_ms >= expires_at:
        return True
    return max_age_ms > 0 and now_ms - arrival.record.timestamp_ms > max_age_ms
