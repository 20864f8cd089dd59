"""Records the console for the first page of the docs: `make recording`.

A real conversation, on a real broker with a real model, as an animated WebP: what is typed, what comes, how the reply
came about, and the exact prompt. Pictures that do not differ are one, for as long as both.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page

from tools.pictures import ROOT, chromium, scene

_SIZE = (1_200, 720)
_SAID = ("What's the weather in Beijing?", "What about Shanghai?")
_LINGER_S = 2.5
_LONGEST_S = 240.0
_LONGEST_FRAME_MS = 600
"""What a busy machine stretches is shown no longer than this."""


class Film:
    """Frames of a page, each with how long it was seen, in ms."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[tuple[Image.Image, int]] = []
        self._shot_at = time.monotonic()

    def shoot(self) -> None:
        picture = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        now = time.monotonic()
        seen_ms = min(_LONGEST_FRAME_MS, int(1_000 * (now - self._shot_at)))
        self._shot_at = now
        if self._frames and ImageChops.difference(self._frames[-1][0], picture).getbbox() is None:
            before, so_far = self._frames[-1]
            self._frames[-1] = (before, so_far + seen_ms)
        else:
            self._frames.append((picture, seen_ms))

    def type(self, text: str) -> None:
        for letter in text:
            self._page.keyboard.type(letter)
            self.shoot()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _LONGEST_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {_LONGEST_S:.0f} s: {what}")
            self.shoot()

    def linger(self, seconds: float = _LINGER_S) -> None:
        began = time.monotonic()
        self.until(lambda: time.monotonic() - began > seconds, "time passes")

    def save(self, file: Path) -> float:
        """Seconds that it lasts."""
        first, *others = [picture for picture, _ in self._frames]
        durations = [max(20, seen_ms) for _, seen_ms in self._frames]
        first.save(file, save_all=True, append_images=others, duration=durations, loop=0, quality=55, method=6)
        return sum(durations) / 1_000


def record(page: Page, console: str) -> Film:
    page.goto(f"{console}/try?id=recording")
    page.locator("#stream[data-state=live]").wait_for(state="attached")
    film = Film(page)
    film.linger(0.5)
    for number, text in enumerate(_SAID, start=1):
        page.locator("textarea").focus()
        film.type(text)
        page.keyboard.press("Enter")
        film.until(partial(_is_answered, page, number), "the reply and its evidence")
        film.linger()
    page.locator(".evidence .prompt a").last.click()
    page.locator("pre.exact").wait_for()
    film.linger(2 * _LINGER_S)
    return film


def _is_answered(page: Page, number: int) -> bool:
    return page.locator(".evidence .prompt a").count() == number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "recording.webp")
    file: Path = parser.parse_args().out
    width, height = _SIZE
    with (
        tempfile.TemporaryDirectory(prefix="recording-") as folder,
        scene(Path(folder)) as console,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.set_default_timeout(1_000 * _LONGEST_S)
        seconds = record(page, console).save(file)
    sys.stderr.write(f"{file}: {seconds:.0f} s, {file.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
