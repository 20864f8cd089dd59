"""Letters go back when that is meant, once, and what was done can be seen."""

import re

from stream_worker.kafka.letters import Edit, Fate, Letters, Wanted, mark, redriven
from tests.unit.console import records
from tests.unit.console.site import TOKEN, Site

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


EVENT = b'{"conversation_id": "c", "message_id": "m-1", "sender": {"id": "u"}, "text": "hello"}'
EDIT = {"id": "0/7", "key": "c", "value": EVENT.decode(), "again": ""}


def test_a_letter_is_edited_and_goes_back_when_workers_can_read_it() -> None:
    site = Site()
    site.board.take(*records.letter(7, "invalid_event", b'{"conversation_id": "c", "text": 1}'))
    assert "&#34;text&#34;: 1}" in site.ask("/letters/edit?id=0/7")[2]
    wrong = {**EDIT, "value": '{"conversation_id": "c", "text": "<i>"}', "csrf": site.access.csrf}
    status, _, body = site.ask("/letters/edit", form=wrong)
    # What was typed is not lost.
    assert (status, "It would be a dead letter again: " in body, "&lt;i&gt;" in body) == (422, True, True)
    assert site.ask("/letters/edit", form={**EDIT, "key": "other", "csrf": site.access.csrf})[0] == 422
    assert site.desk.edited == []
    lines = {**EDIT, "value": EDIT["value"].replace(", ", ",\r\n"), "csrf": site.access.csrf}
    status, headers, _ = site.ask("/letters/edit", form=lines)
    assert (status, headers["location"]) == (303, "/letters?reason=invalid_event&sent=1")
    assert site.desk.edited == [("0/7", Edit(b"c", EVENT.replace(b", ", b",\n")), "kim", False)]


def test_a_letter_that_is_cut_or_that_nobody_may_change_is_not_edited() -> None:
    cut, read_only = Site(), Site(changes=False)
    cut.board.take(*records.letter(7, "too_large", b"x", cut=True))
    read_only.board.take(*records.letter(7, "invalid_event", b"secret"))
    assert cut.ask("/letters/edit", form={**EDIT, "csrf": cut.access.csrf})[0] == 404
    assert read_only.ask("/letters/edit", form={**EDIT, "csrf": read_only.access.csrf})[0] == 403
    assert Site().ask("/letters/edit", form=EDIT)[0] == 403
    for site in (cut, read_only):
        assert "<textarea" not in site.ask("/letters/edit?id=0/7")[2]
    masked = Site(token="f" * 16, masked=TOKEN)
    masked.board.take(*records.letter(7, "invalid_event", b"secret"))
    assert "secret" not in masked.ask("/letters/edit?id=0/7", authorization=f"Bearer {TOKEN}")[2]


def test_an_edited_letter_says_so_in_its_mark_and_the_event_has_what_was_typed() -> None:
    role, record = records.letter(7, "invalid_event", b"x")
    letters = Letters()
    letters.add(record)
    (letter,) = letters.find(Wanted())
    event = redriven(letter, "chat.events", Edit(b"key", b"value"))
    assert (event.key, event.value) == (b"key", b"value")
    assert event.headers == redriven(letter, "chat.events").headers
    done = mark(letter, "chat.dead-letters", Fate.REDRIVEN, "kim", edited=True)
    # It lies beside its letter, whatever the event's key became.
    assert done.key == record.key
    site = Site()
    site.board.take(role, record)
    site.board.take(*records.mark("0/7", "redriven", by="kim", edited=True))
    assert "edited and redriven by kim" in site.ask("/letters")[2]
