"""Who may look and who may change: what is refused, and what every answer carries."""

import json
from pathlib import Path

import pytest

from stream_worker.console.server import Options, serve
from stream_worker.errors import Misconfigured
from stream_worker.settings.loader import resolve
from tests.unit.console.site import TOKEN, Site

PAGES = ("/", "/conversations", "/try?id=x", "/labels", "/letters", "/group", "/dashboards", "/contracts", "/settings")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_works_on_an_empty_board_and_allows_nothing_from_elsewhere(path: str) -> None:
    status, headers, body = Site().ask(path)
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert " style=" not in body
    assert "<script>" not in body
    assert "http://" not in body.replace("http://localhost:9090", "").replace("http://127.0.0.1", "")


def test_a_name_of_another_site_that_leads_here_is_refused() -> None:
    assert Site().ask("/", host="attacker.example")[0] == 421
    assert Site().ask("/", host="localhost:8080")[0] == 200
    assert Site().ask("/", host="[::1]:8080")[0] == 200


def test_a_probe_without_a_token_is_told_whether_the_topics_are_read_and_no_more() -> None:
    status, _, body = Site(token=TOKEN).ask("/readyz", host="10.0.0.7:8080")
    assert (status, json.loads(body)) == (200, {"reads": True})


def test_with_a_token_nothing_is_shown_without_it() -> None:
    site = Site(token=TOKEN)
    for path in (*PAGES, "/stream?watch=conversations", "/conversation.yaml?id=x", "/dashboards/data"):
        assert site.ask(path)[0] == 401
        assert site.ask(path, authorization="Bearer wrong-wrong-wrong")[0] == 401
    assert site.ask("/", accept="text/html")[1]["location"] == "/sign-in"
    assert site.ask("/", authorization=f"Bearer {TOKEN}", host="console.example")[0] == 200
    status, headers, _ = site.ask("/sign-in", form={"token": TOKEN})
    assert status == 303
    assert {"HttpOnly", "SameSite=strict"} <= {each.strip() for each in headers["set-cookie"].split(";")}
    cookie = headers["set-cookie"].partition(";")[0]
    assert site.ask("/", cookie=cookie)[0] == 200


CHANGE = {"change": "take_over", "id": "c-1", "back": "/conversation?id=c-1"}


def test_a_change_is_one_event_that_says_who_made_it() -> None:
    site = Site()
    status, headers, _ = site.ask("/change", form={**CHANGE, "csrf": site.access.csrf})
    assert (status, headers["location"]) == (303, "/conversation?id=c-1")
    ((key, event),) = site.sender.sent
    assert (key, event["type"], event["agent_id"]) == ("c-1", "handoff", "kim")
    assert event["metadata"] == {"console": {"by": "kim"}}


def test_a_form_of_another_site_changes_nothing() -> None:
    site = Site()
    assert site.ask("/change", form=CHANGE)[0] == 403
    assert site.ask("/change", form={**CHANGE, "csrf": "x"})[0] == 403
    assert site.sender.sent == []


def test_nothing_can_be_changed_unless_it_was_allowed() -> None:
    site = Site(changes=False)
    assert site.ask("/change", form={**CHANGE, "csrf": site.access.csrf})[0] == 403
    assert "Take over" not in site.ask("/try?id=x")[2]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"change": "nonsense"}, 422),
        ({"change": "answer", "text": " "}, 422),
        ({"change": "answer", "text": "x" * 20_000}, 422),
    ],
)
def test_what_says_nothing_or_too_much_is_refused_with_a_sentence(change: dict[str, str], status: int) -> None:
    site = Site()
    assert site.ask("/change", form={**CHANGE, **change, "csrf": site.access.csrf})[0] == status
    assert site.sender.sent == []


def test_a_change_never_leads_to_another_site() -> None:
    site = Site()
    headers = site.ask("/change", form={**CHANGE, "back": "//attacker.example", "csrf": site.access.csrf})[1]
    assert headers["location"] == "/"


def test_it_listens_to_other_machines_only_with_a_token(tmp_path: Path) -> None:
    resolved = resolve(None, {}, {})
    with pytest.raises(Misconfigured, match="--token-file"):
        serve(resolved, Options(host="0.0.0.0", port=0), print)
    (tmp_path / "token").write_text("short")
    with pytest.raises(Misconfigured, match="too short"):
        serve(resolved, Options(host="0.0.0.0", port=0, token_file=tmp_path / "token"), print)


def test_a_text_of_a_user_is_never_markup() -> None:
    site = Site()
    status, _, body = site.ask("/conversation?id=%3Cscript%3Ealert(1)%3C/script%3E")
    assert status == 404
    assert "<script>alert" not in body
