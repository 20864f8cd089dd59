"""A sender's and a tenant's messages are limited as by a bucket of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.admission.queue import ReadyQueue
from stream_worker.admission.rates import Buckets, Rates
from stream_worker.settings.admission import AdmissionSettings
from tests.unit.arrivals import arrival, message

_NAME = ("", "u-1")


class _Bucket:
    """The obvious one: tokens that flow in, up to the burst."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, float(burst), 0

    def take(self, now_ms: int) -> bool:
        self.tokens = min(self.burst, self.tokens + (now_ms - self.at) * self.rate / 60_000)
        self.at = now_ms
        if self.tokens < 1 - 1e-6:
            return False
        self.tokens -= 1
        return True


@given(st.sampled_from([1, 60, 600, 6_000]), st.integers(1, 10), st.lists(st.integers(0, 30).map(lambda n: n * 100)))
def test_a_bucket_is_a_bucket(rate: int, burst: int, pauses: list[int]) -> None:
    ours, model, now = Buckets(rate, burst), _Bucket(rate, burst), 1_000
    model.at = now
    for pause in pauses:
        now += pause
        assert ours.take(_NAME, now) == model.take(now)


@given(st.integers(1, 50))
def test_timestamps_that_go_back_give_nothing_away(burst: int) -> None:
    buckets = Buckets(60, burst)
    taken = sum(buckets.take(_NAME, 1_000_000 - number) for number in range(burst * 3))
    assert max(1, burst - 1) <= taken <= burst


def test_each_sender_and_tenant_has_a_bucket_and_a_worker_its_share() -> None:
    rates = Rates(AdmissionSettings(sender_messages_per_minute=1, sender_burst=2, tenant_messages_per_minute=1))
    assert [rates.admit(message(number), 1.0) for number in range(3)] == [True, True, False]
    assert rates.admit(arrival(4, sender={"id": "u-2"}, text="x"), 1.0)
    halved = Buckets(60, 10)
    assert sum(halved.take(("t", ""), 0, share=0.5) for _ in range(20)) == 5


def test_tenants_share_by_weight_while_both_wait() -> None:
    queue = ReadyQueue({"big": 3.0})
    for number in range(80):
        for tenant in ("big", "small"):
            queue.add(timestamp_ms=number, partition=0, term=1, conversation=f"{tenant}-{number}", tenant=tenant)
    running = {"big": 0, "small": 0}
    for _ in range(40):
        candidate = queue.pop(lambda tenant: running[tenant])
        assert candidate is not None
        running[candidate.tenant] += 1
    assert running == {"big": 30, "small": 10}


def test_partitions_that_are_not_read_in_step_take_nothing_from_each_other() -> None:
    buckets, now = Buckets(30, 5), 10_000_000
    assert buckets.take(_NAME, now)
    assert all(buckets.take(_NAME, now - 600_000 + number * 30_000) for number in range(5))
    assert all(buckets.take(_NAME, now - 30_000) for _ in range(4))
    assert not buckets.take(_NAME, now - 30_000)


def test_what_is_read_again_has_its_token() -> None:
    rates = Rates(AdmissionSettings(sender_messages_per_minute=1, sender_burst=1))
    assert rates.admit(message(1, "first"), 1.0)
    assert rates.admit(message(1, "first"), 1.0)
    assert not rates.admit(message(2, "second"), 1.0)
