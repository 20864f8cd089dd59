"""The docs build into a site in which every link leads somewhere and nothing comes from another machine."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.doc_blocks import ROOT
from tools import site as contents

#: Attributes that a browser follows by itself.
LOADS = {"script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "video": "src"}


class Page(HTMLParser):
    """Links, what is loaded, and what can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names.update(value for name, value in found.items() if name in ("id", "name"))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADS and LOADS[tag] in found:
            self.loads.append(found[LOADS[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[Path, Page]:
    # What is asked for and not there has no place of its own: its links begin at the root.
    files = (file for file in built.rglob("*.html") if file.name != "404.html")
    return {file: Page(file.read_text(encoding="utf-8")) for file in files}


def broken(built: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for file, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(built) or not target.exists():
                yield f"{file.relative_to(built)} → {link}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                yield f"{file.relative_to(built)} → {link}: no such heading"


def test_every_link_leads_somewhere(built: Path, pages: dict[Path, Page]) -> None:
    assert list(broken(built.resolve(), pages)) == []


def test_a_link_that_leads_nowhere_is_found(built: Path, pages: dict[Path, Page]) -> None:
    file = built / "limits.html"
    for link in ("nowhere.html", "tutorial.html#nowhere", "../outside.md", "pictures/none.png"):
        found = list(broken(built.resolve(), {**pages, file: Page(f'<a href="{link}">')}))
        assert len(found) == 1, link


def test_nothing_is_loaded_from_another_machine(built: Path, pages: dict[Path, Page]) -> None:
    assert {load for page in pages.values() for load in page.loads if "//" in load} == set()
    for style in built.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_page_can_be_found_by_the_navigation() -> None:
    listed = {path for _, path in contents.pages(contents.navigation())}
    for index in ("runbooks/index.md", "decisions/index.md"):
        text = (contents.DOCS / index).read_text(encoding="utf-8")
        listed |= {f"{Path(index).parent}/{name}" for name in re.findall(r"\]\(([^)]+\.md)\)", text)}
    assert {str(file.relative_to(contents.DOCS)) for file in contents.DOCS.rglob("*.md")} == listed


def test_the_search_knows_every_page(built: Path) -> None:
    index = (built / "search.json").read_text(encoding="utf-8")
    for _, path in contents.pages(contents.navigation()):
        assert path == "index.md" or path.replace(".md", ".html") in index, path


def test_links_of_the_readme_lead_to_files() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in link or (ROOT / link).exists(), f"{name} → {link}"
