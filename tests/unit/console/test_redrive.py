"""Letters go back when that is meant, once, and what was done can be seen."""

import re

from tests.unit.console import records
from tests.unit.console.site import Site

REDRIVE = {"places": "0/7 0/8", "reason": "invalid_event", "again": ""}


def test_letters_are_counted_before_they_are_sent_back_and_marked_ones_left_out() -> None:
    site = Site()
    for offset in (7, 8, 9, 10):
        site.board.take(*records.letter(offset, "invalid_event", b"x", cut=offset == 10))
    site.board.take(*records.mark("0/9", "redriven", by="lee"))
    preview = site.ask("/letters/redrive?reason=invalid_event")[2]
    assert "Redrive 2 letters?" in preview
    assert "1 left out: sent back or dropped before" in preview
    assert "1 left out: too large" in preview
    (places,) = re.findall('name="places" value="([^"]*)"', preview)
    assert places == "0/7 0/8"
    status, headers, _ = site.ask("/letters/redrive", form={**REDRIVE, "csrf": site.access.csrf})
    assert (status, headers["location"]) == (303, "/letters?reason=invalid_event&sent=2")
    assert site.desk.sent == [(frozenset({"0/7", "0/8"}), "kim", False)]


def test_a_letter_that_was_sent_back_says_so_and_goes_again_only_when_that_is_meant() -> None:
    site = Site()
    site.board.take(*records.letter(7, "invalid_event", b"x"))
    # A mark may be read before its letter.
    site.board.take(*records.mark("0/7", "redriven", by="lee"))
    assert "redriven by lee" in site.ask("/letters?id=0/7")[2]
    assert "Redrive 1" not in site.ask("/letters")[2]
    again = site.ask("/letters/redrive?id=0/7")[2]
    assert "Redrive once more?" in again
    assert 'name="again" value="yes"' in again


def test_no_letter_goes_back_without_leave() -> None:
    for site, form in (
        (Site(changes=False), True),
        (Site(), False),
    ):
        site.board.take(*records.letter(7, "invalid_event", b"x"))
        given = {**REDRIVE, "csrf": site.access.csrf} if form else REDRIVE
        assert site.ask("/letters/redrive", form=given)[0] == 403
        assert site.desk.sent == []
    assert "Redrive" not in Site(changes=False).ask("/letters?id=0/7")[2]
