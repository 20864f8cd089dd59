"""The times without a reply are found, and laid to the fault they followed."""

from tests.chaos.gaps import Gap, gaps, longest_by_fault, worst


def test_a_gap_is_time_without_an_outcome_while_an_event_waits() -> None:
    arrived = {(0, 0): 1_000, (0, 1): 1_100, (0, 2): 9_000, (1, 0): 1_000}
    settled = {(0, 0): 1_200, (0, 1): 4_000, (0, 2): 9_100, (1, 0): 1_300}
    assert gaps(arrived, settled) == [Gap(0, 1_200, 4_000)]


def test_who_waits_for_long_counts_while_others_settle_before() -> None:
    """Event 0 waits from the beginning, so the partition was never idle."""
    assert gaps({(0, 0): 0, (0, 1): 8_000}, {(0, 1): 8_000, (0, 0): 8_100}) == [Gap(0, 0, 8_000)]


def test_the_longest_gap_is_kept_by_the_fault_before_it() -> None:
    found = [Gap(0, 1_000, 3_000), Gap(1, 5_000, 6_000), Gap(2, 9_000, 9_700)]
    faults = [(900, "kill"), (5_100, "zombie"), (8_000, "kill")]
    assert longest_by_fault(found, faults) == {"kill": 2.0, "zombie": 1.0}
    assert worst(found, faults, 500, most=1) == [{"partition": 0, "from_s": 0.5, "seconds": 2.0, "after": "kill"}]
