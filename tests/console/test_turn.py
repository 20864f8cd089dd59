"""A real model's turn: its exact prompt with what was cached, and the same tokens when it is run again here."""

import sys
from collections.abc import Iterator

import orjson
import pytest
from playwright.sync_api import expect

from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from tests.console.conftest import GUARD_S, ConsoleProcess, Scene, Tab
from tests.deploy.scene import Process, tiny_model
from tests.eventually import eventually

_BOT = """
bot: tiny
languages: [en]
system: You are brief.
fallback: {reply: model}
sampling: {max_new_tokens: 12, temperature: 0.9, top_p: 0.95}
"""


@pytest.fixture(scope="module")
def spoken(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two turns of one conversation with a small torch model, on topics of their own."""
    folder = tmp_path_factory.mktemp("turns")
    (folder / "bot.yaml").write_text(_BOT)
    settings = Settings.model_validate(
        {
            "application_id": "turns",
            "instance": "0",
            "kafka": {"bootstrap_servers": scene.settings.kafka.bootstrap_servers, "start_at": "earliest"},
            "outputs": {"prefix": "turns."},
            "topics": {"events": "turns.events", "partitions": 2, "replication_factor": 1, "min_insync_replicas": 1},
            "bots": [{"file": str(folder / "bot.yaml")}],
            "engine": {"model": str(tiny_model(folder / "model")), "dtype": "float32", "threads": 1},
            "understanding": {"encoder": None},
            "conversation": {"state_dir": str(folder / "state")},
            "observability": {"host": "127.0.0.1", "port": 0},
        }
    )
    create(connect(settings), topic_table(settings))
    file = folder / "stream-worker.yaml"
    file.write_bytes(orjson.dumps(settings.model_dump(mode="json", exclude_defaults=True)))
    worker = Process([sys.executable, "-m", "stream_worker", "run", "--config", str(file)], folder, "worker")
    try:
        with ConsoleProcess(settings, folder, "--rehearse") as console:
            made = Scene(settings, console.url, scene.worker)
            for number, text in enumerate(("Is anybody there?", "And what about Zürich?")):
                made.say("ada", f"m-{number}", text)

                def is_answered(number: int = number) -> bool:
                    worker.expect_alive()
                    return (
                        "ada" in made.body("/conversations")
                        and made.body("/conversation?id=ada").count("tokens</a>") == 1 + number
                    )

                eventually(is_answered, GUARD_S)
            yield made
    finally:
        worker.stop()


def test_the_exact_prompt_is_shown_with_what_was_cached_and_the_turn_is_run_again(spoken: Scene, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{spoken.url}/conversation?id=ada")
    page.get_by_role("link", name="prompt", exact=False).last.click()
    prompt = page.locator("pre.exact")
    expect(prompt).to_contain_text("And what about Zürich?")
    cached = prompt.locator("mark.cached")
    expect(cached).to_contain_text("You are brief.")
    expect(cached).to_contain_text("Is anybody there?")
    expect(cached).not_to_contain_text("And what about Zürich?")
    # Markup is a part of it.
    expect(prompt).to_contain_text("<|im_start|>")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("#again")).to_contain_text("the same 12 tokens")
    assert page.locator("#again pre").inner_text() == page.locator(".card pre").last.inner_text()


def test_a_turn_of_an_engine_that_takes_messages_is_run_again_too(scene: Scene, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{scene.url}/conversation?id=person-5")
    page.get_by_role("link", name="prompt", exact=False).first.click()
    expect(page.locator(".messages dd").last).to_have_text("How do I return a parcel that came broken?")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("#again .pill.good")).to_be_visible()
