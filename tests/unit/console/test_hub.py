"""A browser that comes back misses nothing, or is told to load anew."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.console import hub as hub_module
from stream_worker.console.hub import Hub, Notice


async def follow(
    hub: Hub, watched: Iterable[str], last_id: str | None, *, published: Iterable[str] = ()
) -> list[Notice | None]:
    """What a browser gets of what is kept and of what is published while it listens."""
    found: list[Notice | None] = []

    async def listen() -> None:
        async for notice in hub.follow(frozenset(watched), last_id):
            found.append(notice)  # noqa: PERF401  # what came before the end counts

    listening = asyncio.create_task(listen())
    for name in published:
        await asyncio.sleep(0)
        hub.publish([name])
    # Everything published is taken before the end is seen.
    for _ in range(3):
        await asyncio.sleep(0)
    hub.close()
    await listening
    return found


def names(notices: Iterable[Notice | None]) -> list[str]:
    return [next(iter(notice.names)) if notice else "reset" for notice in notices]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.data())
def test_nothing_after_the_last_id_is_missed_and_nothing_comes_twice(published: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(published)))

    async def run() -> None:
        hub = Hub("run")
        for name in published[:cut]:
            hub.publish([name])
        last_id = hub.id_of(None)
        for name in published[cut:]:
            hub.publish([name])
        assert names(await follow(hub, "ab", last_id)) == [each for each in published[cut:] if each in "ab"]

    asyncio.run(run())


def test_without_an_id_it_begins_now_and_goes_on() -> None:
    async def run() -> None:
        hub = Hub("run")
        hub.publish(["a"])
        assert names(await follow(hub, "a", None, published="aba")) == ["a", "a"]

    asyncio.run(run())


@pytest.mark.parametrize("last_id", ["other-3", "run-99999", "run-x", "", "run-1"])
def test_what_cannot_be_told_is_a_reset(last_id: str) -> None:
    async def run() -> None:
        hub = Hub("run")
        for _ in range(hub_module.KEPT + 5):
            hub.publish(["a"])
        assert names(await follow(hub, "a", last_id))[0] == "reset"

    asyncio.run(run())
