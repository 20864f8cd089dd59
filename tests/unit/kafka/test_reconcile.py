"""Where a partition starts: every disagreement of offset and ledger has its rule."""

import pytest

from stream_worker.contracts.internal import LedgerRecord, load_ledger
from stream_worker.errors import Code, Fatal, PartitionRefused
from stream_worker.kafka.protocols import PartitionFacts
from stream_worker.kafka.reconcile import Start, reconcile


def _facts(committed: int | None, *, start: int = 0, end: int = 100, partitions: int = 8) -> PartitionFacts:
    return PartitionFacts(
        committed=committed, start=start, end=end, changelog_end=5, topic_id="topic-1", partitions=partitions
    )


def _ledger(next_offset: int, *opened: int, released: bool = False, starts: int = 0) -> LedgerRecord:
    return LedgerRecord(
        topic_id="topic-1",
        partition=0,
        partitions=8,
        term=3,
        next=next_offset,
        open=opened,
        released=released,
        starts=starts,
    )


def _reconcile(
    facts: PartitionFacts, ledger: LedgerRecord | None, *, earliest: bool = True, adopt: bool = False
) -> Start:
    return reconcile(0, facts, ledger, from_earliest=earliest, adopt_group=adopt)


def test_ledger_and_offset_that_agree_go_on() -> None:
    start = _reconcile(_facts(40), _ledger(50, 40, 44))
    assert (start.next, start.open, start.term, start.starts) == (50, (40, 44), 4, 1)


def test_a_released_ledger_counts_no_start() -> None:
    assert _reconcile(_facts(50), _ledger(50, released=True, starts=2)).starts == 0
    assert _reconcile(_facts(50), _ledger(50, starts=2)).starts == 3


@pytest.mark.parametrize(("earliest", "expected"), [(True, 7), (False, 100)])
def test_a_new_group_starts_where_it_was_told_to(earliest: bool, expected: int) -> None:
    start = _reconcile(_facts(None, start=7), None, earliest=earliest)
    assert (start.next, start.open, start.term) == (expected, (), 1)


def test_no_offset_but_a_ledger_follows_the_ledger() -> None:
    assert _reconcile(_facts(None), _ledger(50, 40)).open == (40,)


def test_a_moved_offset_wins_and_says_so() -> None:
    start = _reconcile(_facts(20), _ledger(50, 40))
    assert (start.next, start.open, start.term) == (20, (), 4)
    assert "moved to 20" in start.warning


@pytest.mark.parametrize(
    ("facts", "ledger", "code"),
    [
        (_facts(10), None, Code.ADOPT_GROUP),
        (_facts(50, partitions=16), _ledger(50), Code.LEDGER_FOREIGN),
        (_facts(50, end=49), _ledger(50), Code.LEDGER_BEYOND_END),
        (_facts(40, start=45), _ledger(50, 40), Code.OFFSET_BELOW_START),
        (_facts(20, start=45), _ledger(50, 40), Code.OFFSET_BELOW_START),
    ],
)
def test_what_must_not_be_guessed_is_refused(facts: PartitionFacts, ledger: LedgerRecord | None, code: Code) -> None:
    with pytest.raises(PartitionRefused) as refused:
        _reconcile(facts, ledger)
    assert refused.value.code is code


def test_a_group_can_be_adopted() -> None:
    start = _reconcile(_facts(10), None, adopt=True)
    assert (start.next, start.term) == (10, 1)
    assert "adopted" in start.warning


def test_a_ledger_record_loads_as_it_was_dumped() -> None:
    ledger = _ledger(50, 40, 44, starts=1)
    assert load_ledger(ledger.dump()) == ledger


def test_a_ledger_of_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(Fatal, match="upgrade this worker"):
        load_ledger(b'{"format": 2}')
    with pytest.raises(PartitionRefused):
        load_ledger(b"{}")
