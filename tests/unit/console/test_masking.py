"""Personal data is shown to who may see it, and to nobody else."""

import orjson
from msgspec import structs

from tests.unit.console import records
from tests.unit.console.site import TOKEN, Site

CANARIES = ("ada@example.org", "+49 170 1234567", "https://example.org/ada", "u-ada-4711")
SAID = f"I am {CANARIES[0]}, call {CANARIES[1]}, see {CANARIES[2]}"


def fill(site: Site) -> None:
    """Personal data in every place that a page shows."""
    board = site.board
    board.take(*records.event("c", "e-1", 0, SAID, sender={"id": CANARIES[3]}))
    board.take(*records.reply("c", "e-1", f"Is it {CANARIES[1]}?"))
    role, analysis = records.analysis("c", "e-1")
    value = orjson.loads(analysis.value or b"")
    value["slots"] = [{**value["slots"][0], "value": CANARIES[0], "start": 5, "end": 20}]
    board.take(role, records.record(value, "c"))
    role, command = records.command("c", "e-1", {"phone": CANARIES[1]})
    board.take(role, command)
    board.take(*records.metric("c", "e-1", 0))
    board.take(*records.event("writes", "e-2", 1, "hello"))
    board.take(*records.delta("writes", "e-2", 0, f"Your number {CANARIES[1]}"))
    board.take(*records.letter(7, "invalid_event", SAID.encode()))
    site.view.is_caught_up = True


SHOWING = (
    "/",
    "/conversations",
    "/conversation?id=c",
    "/conversation?id=writes",
    "/try?id=c",
    "/letters?id=0/7",
    "/conversation.yaml?id=c",
)


def test_who_may_not_see_personal_data_sees_none_of_it() -> None:
    site = Site(token=TOKEN, masked="masked-" + TOKEN)
    fill(site)
    full = "".join(site.ask(path, authorization=f"Bearer {TOKEN}")[2] for path in SHOWING)
    assert [canary for canary in CANARIES if canary not in full] == []
    seen = "".join(site.ask(path, authorization=f"Bearer masked-{TOKEN}")[2] for path in SHOWING)
    assert [canary for canary in CANARIES if canary in seen] == []
    assert "[email]" in seen
    assert "170" not in seen


def test_a_text_cannot_be_found_out_by_searching_for_it() -> None:
    site = Site(token=TOKEN, masked="masked-" + TOKEN)
    fill(site)
    for asked in ("ada%40example", "u-ada"):
        assert "/conversation?id=c" in site.ask(f"/conversations?q={asked}", authorization=f"Bearer {TOKEN}")[2]
        assert (
            "/conversation?id=c" not in site.ask(f"/conversations?q={asked}", authorization=f"Bearer masked-{TOKEN}")[2]
        )


def test_who_sees_less_changes_nothing() -> None:
    site = Site(token=TOKEN, masked="masked-" + TOKEN)
    fill(site)
    for path, form in (("/change", {"change": "take_over", "id": "c"}), ("/letters/redrive", {"places": "0/7"})):
        given = {**form, "csrf": site.access.csrf}
        assert site.ask(path, form=given, authorization=f"Bearer masked-{TOKEN}")[0] == 403
    assert (site.sender.sent, site.desk.sent) == ([], [])
    assert "Redrive" not in site.ask("/letters?id=0/7", authorization=f"Bearer masked-{TOKEN}")[2]


def test_a_reply_leads_to_its_trace() -> None:
    site = Site()
    fill(site)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    role, reply = records.reply("c", "e-1", "hello")
    headers = (("traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode()),)
    site.board.take(role, structs.replace(reply, headers=headers))
    assert f'href="http://traces.example/{trace}"' in site.ask("/conversation?id=c")[2]
