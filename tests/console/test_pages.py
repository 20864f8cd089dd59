"""Every page, at both widths and in both themes: nothing is fetched from elsewhere, nothing hinders anybody."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.console.conftest import NARROW, WIDE, Scene, open_tab
from tests.unit.console import records

PAGES = (
    "/",
    "/conversations",
    "/conversation?id=person-1",
    "/try?id=person-2",
    "/labels",
    "/letters",
    "/letters/redrive?reason=invalid_json",
    "/letters/edit?id={letter}",
    f"/turn?id=person-2&turn={records.turn_of('person-2', 'm-2')}",
    "/group",
    "/contracts",
    "/settings",
    "/conversation?id=nobody",
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_pages_are_accessible_fit_the_width_and_stay_on_this_machine(
    scene: Scene, chromium: Browser, size: tuple[int, int], theme: str
) -> None:
    context, tab = open_tab(chromium, size, theme)
    found: list[str] = []
    (letter, *_) = re.findall(r"id=(\d+/\d+)#opened", scene.body("/letters"))
    for path in PAGES:
        tab.page.goto(scene.url + path.replace("{letter}", letter))
        if tab.page.locator("body").get_attribute("data-watch"):
            tab.page.locator("#stream[data-state=live]").wait_for(state="attached")
        results = Axe().run(tab.page)
        for violation in results.response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:160] for node in violation["nodes"][:3]]
                found.append(f"{path}: {violation['id']}: {nodes}")
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
        if wide > size[0]:
            found.append(f"{path}: {wide} pixels wide")
    context.close()
    assert found == []
    # The one page that is not there says so.
    expected = f"{scene.url}/conversation?id=nobody: 404"
    assert [fault for fault in tab.faults if fault != expected and "404 (Not Found)" not in fault] == []


def test_axe_finds_what_is_wrong(scene: Scene, chromium: Browser) -> None:
    """The check is real: a button without a name is found."""
    context, tab = open_tab(chromium)
    tab.page.goto(scene.url)
    tab.page.evaluate("document.body.append(document.createElement('button'))")
    assert "button-name" in {each["id"] for each in Axe().run(tab.page).response["violations"]}
    context.close()
