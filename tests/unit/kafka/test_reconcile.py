"""Where a partition starts: every disagreement of offset and ledger has its rule."""

from dataclasses import replace

import pytest

from stream_worker.contracts.internal import LedgerRecord, load_ledger
from stream_worker.errors import Code, Fatal, PartitionRefused
from stream_worker.kafka.protocols import PartitionFacts
from stream_worker.kafka.reconcile import Names, Start, reconcile

_NAMES = Names(application_id="shop", topic="chat.events", bootstrap_servers="broker:9092")


def _facts(committed: int | None, *, start: int = 0, end: int = 100, partitions: int = 8) -> PartitionFacts:
    return PartitionFacts(
        committed=committed, start=start, end=end, changelog_end=5, topic_id="topic-1", partitions=partitions
    )


def _ledger(
    next_offset: int,
    *opened: int,
    released: bool = False,
    starts: int = 0,
    careful_to: int | None = None,
    suspect: int | None = None,
    begins_below: int | None = None,
) -> LedgerRecord:
    return LedgerRecord(
        topic_id="topic-1",
        partition=0,
        partitions=8,
        term=3,
        next=next_offset,
        open=opened,
        released=released,
        starts=starts,
        careful_to=careful_to,
        suspect=suspect,
        begins_below=begins_below,
    )


def _reconcile(
    facts: PartitionFacts, ledger: LedgerRecord | None, *, earliest: bool = True, adopt: bool = False, held: int = 0
) -> Start:
    return reconcile(
        0, facts, ledger, from_earliest=earliest, adopt_group=adopt, most_in_hand=20, names=_NAMES, term_held=held
    )


def test_ledger_and_offset_that_agree_go_on() -> None:
    start = _reconcile(_facts(40), _ledger(50, 40, 44))
    assert (start.next, start.open, start.term) == (50, (40, 44), 4)


def test_a_crash_counts_against_what_may_have_been_running() -> None:
    first = _reconcile(_facts(40), replace(_ledger(50, 40, 44, 47, begins_below=52), begun=(40, 47)))
    assert first.crashes == {40: 1, 47: 1, 50: 1, 51: 1}, "44 waited, and what lies behind 51 could not begin"
    assert _reconcile(_facts(40, end=51), replace(_ledger(50, 40, begins_below=52), begun=())).crashes == {50: 1}
    again = replace(_ledger(60, 44, 47, 55, begins_below=60), begun=(44, 47), crashes=((40, 1), (47, 1), (51, 1)))
    assert _reconcile(_facts(44), again).crashes == {44: 1, 47: 2}, "40 and 51 have settled"
    assert _reconcile(_facts(44), replace(again, released=True)).crashes == {47: 1}, "a release ends no search"


def test_an_older_ledger_says_of_whole_ranges_that_they_may_have_run() -> None:
    unknown = _reconcile(_facts(40), _ledger(50, 40))
    assert unknown.crashes == dict.fromkeys((40, *range(50, 70)), 1), "as many as may have been in hand"
    said = _reconcile(_facts(40), _ledger(50, 40, 47, begins_below=46))
    assert said.crashes == {40: 1}, "what waited behind it had not begun"
    again = _reconcile(_facts(60), _ledger(80, 60, 75, starts=1, careful_to=70, begins_below=80))
    assert again.crashes == {60: 2, 75: 1}
    assert _reconcile(_facts(100), _ledger(100, starts=4)).crashes == {}, "nothing was in hand that could be guilty"


def test_a_suspect_of_a_process_that_ended_is_condemned_and_the_search_is_over() -> None:
    ledger = replace(_ledger(50, 40, 44, suspect=44, begins_below=50), begun=(40, 44), crashes=((40, 2), (44, 2)))
    start = _reconcile(_facts(40), ledger)
    assert (start.condemned, start.crashes) == (44, {40: 1}), "40 is as if it had been there once"
    assert _reconcile(_facts(44), replace(ledger, open=(44,), suspect=40)).condemned is None, "it settled"


def test_a_process_that_lives_did_not_crash() -> None:
    ledger = replace(_ledger(50, 40, suspect=40, begins_below=50), begun=(40,), crashes=((40, 1),))
    start = _reconcile(_facts(40), ledger, held=3)
    assert (start.condemned, start.crashes) == (None, {40: 1})
    assert _reconcile(_facts(40), ledger, held=2).condemned == 40


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
    assert (start.redriven_to, start.redriven_in) == (50, 4), "what lies below the old `next` is wanted again"


def test_a_redrive_lasts_over_takes_and_a_second_move_begins_another() -> None:
    ledger = replace(_ledger(30, 25), redriven_to=50, redriven_in=4)
    agreed = _reconcile(_facts(25), ledger)
    assert (agreed.redriven_to, agreed.redriven_in) == (50, 4)
    moved = _reconcile(_facts(10), ledger)
    assert (moved.redriven_to, moved.redriven_in) == (50, moved.term)


@pytest.mark.parametrize(
    ("facts", "ledger", "code", "cure"),
    [
        (_facts(10), None, Code.ADOPT_GROUP, "stream-worker run --adopt-group"),
        (_facts(50, partitions=16), _ledger(50), Code.LEDGER_FOREIGN, "APPLICATION_ID=shop-2 stream-worker run"),
        (_facts(50, end=49), _ledger(50), Code.LEDGER_BEYOND_END, "APPLICATION_ID=shop-2 stream-worker run"),
        (_facts(40, start=45), _ledger(50, 40), Code.OFFSET_BELOW_START, "--topic chat.events:0 --reset-offsets"),
        (_facts(20, start=45), _ledger(50, 40), Code.OFFSET_BELOW_START, "--bootstrap-server broker:9092"),
    ],
)
def test_what_must_not_be_guessed_is_refused_with_the_command_that_cures_it(
    facts: PartitionFacts, ledger: LedgerRecord | None, code: Code, cure: str
) -> None:
    with pytest.raises(PartitionRefused) as refused:
        _reconcile(facts, ledger)
    assert refused.value.code is code
    assert cure in refused.value.detail


def test_a_group_can_be_adopted() -> None:
    start = _reconcile(_facts(10), None, adopt=True)
    assert (start.next, start.term) == (10, 1)
    assert "adopted" in start.warning


def test_a_ledger_record_loads_as_it_was_dumped() -> None:
    ledger = _ledger(50, 40, 44, starts=1)
    assert load_ledger(ledger.dump(), ledger.partition) == ledger


def test_a_ledger_of_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(Fatal, match=r"partition 3: .* upgrade this worker"):
        load_ledger(b'{"format": 2}', 3)


@pytest.mark.parametrize(
    "raw", [b"{}", b"[]", b"not JSON", _ledger(50, 40).dump(), replace(_ledger(50, 50), partition=3).dump()]
)
def test_a_damaged_ledger_is_refused_with_its_partition_and_the_cure(raw: bytes) -> None:
    """Also one of another partition, and one that no worker can have written."""
    with pytest.raises(PartitionRefused, match=r"partition 3: .*stream-worker run --adopt-group") as refused:
        load_ledger(raw, 3)
    assert (refused.value.code, refused.value.partition) == (Code.LEDGER_UNREADABLE, 3)
