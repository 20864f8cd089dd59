"""Ten thousand conversations: the page holds a part of them, and scrolls as if there were ten."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from statistics import median

import pytest
import uvicorn
from playwright.sync_api import expect

from stream_worker.console import board as board_module
from stream_worker.console.access import Access
from stream_worker.console.app import Console
from stream_worker.console.board import Board, of_conversation
from stream_worker.console.feed import View
from stream_worker.console.hub import Hub
from stream_worker.console.pages import PAGE
from stream_worker.console.rehearsal import KafkaRehearsal
from stream_worker.settings.loader import resolve
from tests.console.conftest import GUARD_S, Tab
from tests.eventually import eventually
from tests.unit.console import records

MANY = board_module.MAX_CONVERSATIONS
#: Scrolls through the list for 60 frames and gives the length of each in ms.
SCROLL = """() => new Promise((done) => {
  const frames = []; let last = performance.now();
  const step = (now) => {
    frames.push(now - last); last = now; scrollBy(0, 60);
    frames.length < 60 ? requestAnimationFrame(step) : done(frames);
  };
  requestAnimationFrame(step);
})"""


@pytest.fixture(scope="module")
def crowded() -> Iterator[tuple[str, View, asyncio.AbstractEventLoop]]:
    view = View(Board(), Hub("run"))
    for number in range(MANY):
        view.board.take(*records.event(f"c-{number}", "e", number, f"message number {number}", at=records.AT + number))
        view.board.take(*records.reply(f"c-{number}", "e", "answered", at=records.AT + number))
    view.is_caught_up = True
    resolved = resolve(None, {}, {})
    rehearsal = KafkaRehearsal(resolved.settings, may_run=False)
    console = Console(resolved=resolved, view=view, access=Access(None), sender=None, who="kim", rehearsal=rehearsal)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(console.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    eventually(lambda: server.started, GUARD_S)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", view, loops[0]
    loops[0].call_soon_threadsafe(view.hub.close)
    server.should_exit = True
    thread.join(GUARD_S)


def _typical(tab: Tab) -> float:
    """A frame while the page is scrolled, in ms: the median, as others say more of the machine than of the page."""
    return float(median(tab.page.evaluate(SCROLL)))


def test_the_list_scrolls_within_a_tenth_of_a_second_a_frame(
    crowded: tuple[str, View, asyncio.AbstractEventLoop], tab: Tab
) -> None:
    url, view, loop = crowded
    tab.page.goto(f"{url}/conversations")
    expect(tab.page.locator(".covers")).to_contain_text("10")
    assert tab.page.locator(".list li").count() == PAGE
    assert tab.page.evaluate("document.querySelectorAll('*').length") < 2_000
    frame = _typical(tab)
    tab.page.goto(f"{url}/conversations?q=nobody+said+this")
    # Where frames of the page without a conversation are slow, too, it is the machine.
    assert frame < max(100, 3 * _typical(tab))
    tab.page.goto(f"{url}/conversations")

    # A new message moves to the top of ten thousand while one looks.
    tab.page.evaluate("scrollTo(0, 0)")

    def arrive() -> None:
        view.board.take(*records.event("c-5", "e-2", MANY, "the newest of all", at=records.AT + MANY))
        view.hub.publish(view.board.changed() | {of_conversation("c-5")})

    loop.call_soon_threadsafe(arrive)
    expect(tab.page.locator(".list li").first).to_contain_text("the newest of all")
    assert tab.page.locator(".list li").count() == PAGE


def test_one_of_ten_thousand_is_found_by_what_was_said(
    crowded: tuple[str, View, asyncio.AbstractEventLoop], tab: Tab
) -> None:
    url, _, _ = crowded
    tab.page.goto(f"{url}/conversations?q=message+number+777")
    expect(tab.page.locator(".list li").first).to_contain_text("c-777")
