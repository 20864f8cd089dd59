"""Every planted bug replaces something that is there: the product moves, and a bug nobody can plant proves nothing."""

import pytest

from tests.kafka.sabotage import Bug, planted


@pytest.mark.parametrize("bug", list(Bug))
def test_a_bug_can_be_planted_and_taken_out(bug: Bug) -> None:
    with planted(bug):
        pass
