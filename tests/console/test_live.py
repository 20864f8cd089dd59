"""What changes in the topics is seen at once, and what is done in the page is an event."""

import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from confluent_kafka.admin import AdminClient
from playwright.sync_api import Browser, expect

from stream_worker.kafka.dead_letters import read_letters
from stream_worker.kafka.group_admin import describe_group
from stream_worker.kafka.letters import Fate, Letter, Wanted
from stream_worker.kafka.topic_admin import connect
from tests.console.conftest import GUARD_S, ConsoleProcess, Scene, Tab, open_tab
from tests.eventually import eventually
from tests.unit.console import records


def test_a_message_is_typed_and_answered_with_the_keyboard_alone(scene: Scene, chromium: Browser) -> None:
    context, tab = open_tab(chromium)
    page = tab.page
    page.goto(scene.url)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == "/try":
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/try\?id=try-"))
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    page.keyboard.type("Is anybody there?")
    page.keyboard.press("Enter")
    expect(page.locator(".entry.user .bubble")).to_contain_text("Is anybody there?")
    expect(page.locator(".entry.bot .bubble")).to_contain_text("bot")
    expect(page.locator(".entry.bot .waterfall")).to_be_visible()
    expect(page.locator("textarea")).to_be_focused()
    context.close()
    assert tab.faults == []


def test_deltas_are_shown_as_they_come_and_a_new_attempt_replaces_them(scene: Scene, tab: Tab) -> None:
    topic = scene.settings.output_topic(scene.settings.topics.deltas)
    names = ("writes", "m-1")

    def preview(at: int, text: str, attempt: int) -> None:
        scene.write(topic, names[0], records.delta(*names, at, text, attempt)[1].value)

    preview(0, "The first", 1)
    eventually(lambda: "writes" in scene.body("/conversations"), GUARD_S)
    tab.page.goto(f"{scene.url}/conversation?id=writes")
    tab.page.locator("#stream[data-state=live]").wait_for()
    shown = tab.page.locator(".entry.bot .bubble > p").first
    expect(shown).to_have_text("The first")
    preview(9, " words", 1)
    expect(shown).to_have_text("The first words")
    preview(0, "Once more", 2)
    expect(shown).to_have_text("Once more")
    preview(15, " of the old attempt", 1)
    preview(9, ", better", 2)
    expect(shown).to_have_text("Once more, better")


def test_a_human_takes_over_answers_and_gives_back(scene: Scene, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{scene.url}/conversation?id=person-3")
    page.get_by_role("button", name="Take over").click()
    expect(page.locator(".head .pill.human")).to_be_visible()
    page.get_by_role("textbox", name="Answer as a human").fill("I am looking into it.")
    page.keyboard.press("Enter")
    expect(page.locator(".entry.agent .bubble")).to_contain_text("I am looking into it.")
    scene.say("person-3", "m-silent", "Are you a person?")
    expect(page.locator(".entry.user", has_text="Are you a person?")).to_contain_text("silent")
    page.get_by_role("button", name="Give back").click()
    expect(page.locator(".head .pill.bot")).to_be_visible()


def test_what_is_erased_is_gone_from_the_page(scene: Scene, tab: Tab) -> None:
    tab.page.on("dialog", lambda dialog: dialog.accept())
    tab.page.goto(f"{scene.url}/conversation?id=person-4")
    expect(tab.page.locator(".entry.user")).to_have_count(1)
    tab.page.get_by_role("button", name="Erase").click()
    expect(tab.page.locator(".entry.user")).to_have_count(0)
    assert "broken" not in tab.page.content()


def test_the_list_is_narrowed_and_a_golden_test_is_saved(scene: Scene, tab: Tab, tmp_path: Path) -> None:
    tab.page.goto(f"{scene.url}/conversations")
    tab.page.get_by_placeholder("Id, sender or text").fill("person-11")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".list li")).to_have_count(1)
    tab.page.locator(".list a").click()
    with tab.page.expect_download() as download:
        tab.page.get_by_text("Save as golden test").click()
    saved = tmp_path / "golden.yaml"
    download.value.save_as(saved)
    assert saved.read_text().startswith("conversation: person-11\nsteps:\n- user: How do I return")


def test_a_dead_letter_shows_what_came(scene: Scene, tab: Tab) -> None:
    tab.page.goto(f"{scene.url}/letters")
    tab.page.get_by_role("link", name="invalid json").last.click()
    expect(tab.page.locator("#opened pre").first).to_have_text("{ not json")


def test_a_dead_letter_goes_back_once_with_the_keyboard_and_says_by_whom(scene: Scene, tab: Tab) -> None:
    topic = scene.settings.topics.events
    scene.write(topic, "goes-back", b"{ still no json")
    eventually(lambda: "goes-back" in scene.body("/letters"), GUARD_S)
    tab.page.goto(f"{scene.url}/letters")
    row = tab.page.locator("tr", has_text="goes-back")
    row.get_by_role("link").click()
    tab.page.get_by_role("link", name="Redrive…").click()
    expect(tab.page.get_by_role("heading", name="Redrive 1 letter?")).to_be_visible()
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("document.activeElement.textContent") == "Redrive 1":
            break
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("status").filter(has_text="1 letter was sent back")).to_be_visible()
    # It comes back as the letter that it is, and the first one is marked.
    expect(row).to_have_count(2)
    expect(row.filter(has_text="redriven by kim")).to_have_count(1)
    # The first preview of another browser would send it once more: it is left out.
    places = {f"{letter.record.partition}/{letter.record.offset}" for letter in _letters(scene, "goes-back")}
    (sent,) = {each.place for each in _marked(scene, "goes-back")}
    assert sent in places
    before = len(_letters(scene, "goes-back"))
    body = scene.post("/letters/redrive", {"places": sent})
    assert "0 letters were sent back" in body
    assert len(_letters(scene, "goes-back")) == before


def test_a_dead_letter_is_edited_and_answered(scene: Scene, tab: Tab) -> None:
    event = '{"conversation_id": "mended", "message_id": "m-1", "sender": {"id": "u-1"}, "text": "Is it open?"'
    scene.write(scene.settings.topics.events, "mended", event.encode())
    eventually(lambda: "mended" in scene.body("/letters"), GUARD_S)
    page = tab.page
    page.goto(f"{scene.url}/letters")
    page.locator("tr", has_text="mended").get_by_role("link").click()
    page.get_by_role("link", name="Edit…").click()
    page.get_by_label("Event").fill(f"{event}}}")
    page.get_by_role("button", name="Redrive edited").click()
    expect(page.locator("tr", has_text="mended")).to_contain_text("edited and redriven by kim")
    page.goto(f"{scene.url}/conversations?q=mended")
    page.locator(".list a").first.click()
    expect(page.locator(".entry.user .bubble")).to_contain_text("Is it open?")
    expect(page.locator(".entry.bot .bubble")).to_contain_text("bot")


def _letters(scene: Scene, conversation: str) -> list[Letter]:
    wanted = Wanted(conversation=conversation, fates=frozenset(Fate))
    return read_letters(scene.settings).find(wanted)


def _marked(scene: Scene, conversation: str) -> list[Letter]:
    return [each for each in _letters(scene, conversation) if each.fate is Fate.REDRIVEN]


def test_a_stream_that_was_cut_goes_on_where_it_was(scene: Scene) -> None:
    address = f"{scene.url}/stream?{urllib.parse.urlencode({'watch': 'conversation:resumes'})}"

    def events(last_id: str | None, enough: int) -> list[tuple[str, str, str]]:
        request = urllib.request.Request(address, headers={"Last-Event-ID": last_id} if last_id else {})
        found: list[tuple[str, str, str]] = []
        with urllib.request.urlopen(request, timeout=GUARD_S) as answer:
            fields: dict[str, str] = {}
            for raw in answer:
                name, _, value = raw.decode().strip().partition(": ")
                if name:
                    fields[name] = value
                elif fields:
                    found.append((fields.get("id", ""), fields.get("event", ""), fields.get("data", "")))
                    fields = {}
                    if len(found) == enough:
                        return found
        return found

    ((first_id, kind, _),) = events(None, 1)
    assert kind == "hello"
    # While nobody listens.
    scene.say("resumes", "m-1", "hello")
    eventually(lambda: "resumes" in scene.body("/conversations"), GUARD_S)
    # The answer's previews and what else became of it, from the first of them on.
    missed = events(first_id, 2)
    assert {kind for _, kind, _ in missed} <= {"changed", "delta"}
    assert all("resumes" in data for _, _, data in missed)
    ((_, kind, _),) = events("another-run-7", 1)
    assert kind == "reset"


def test_workers_do_not_notice_that_the_console_dies(scene: Scene, tmp_path: Path) -> None:
    admin = connect(scene.settings)
    before = describe_group(admin, scene.settings)
    console = ConsoleProcess(scene.settings, tmp_path)
    stops = threading.Event()

    def look() -> None:
        while not stops.is_set():
            urllib.request.urlopen(f"{console.url}/group", timeout=GUARD_S).read()

    looking = threading.Thread(target=look)
    looking.start()
    stops.set()
    looking.join()
    console.kill()
    scene.say("after-the-end", "m-1", "hello")
    eventually(lambda: "replied" in _ended(scene) or "bot" in _ended(scene), GUARD_S)
    after = describe_group(admin, scene.settings)
    assert (after.state, after.members) == (before.state, before.members) == ("stable", 1)
    assert [each.owner for each in after.partitions] == [each.owner for each in before.partitions]
    groups = AdminClient({"bootstrap.servers": scene.settings.kafka.bootstrap_servers}).list_consumer_groups().result()
    assert [each.group_id for each in groups.valid if "console" in each.group_id] == []


def _ended(scene: Scene) -> str:
    try:
        return scene.body("/conversation?id=after-the-end")
    except urllib.error.HTTPError:
        return ""
