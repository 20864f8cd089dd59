"""Every library has its reason written down, a lower and an upper bound, and a pin."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = {
    line.partition("==")[0].lower().replace("_", "-")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
}
PAGE = (ROOT / "docs" / "dependencies.md").read_text("utf-8")


def _requirements() -> dict[str, str]:
    """Every requirement by its name, extras included, without those that name an extra of ours."""
    all_of_them = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]
    named = {re.split(r"[<>=!\[]", each)[0]: each for each in all_of_them}
    return {name: each for name, each in named.items() if name != "stream-worker"}


def test_every_library_has_a_reason() -> None:
    reasons = set(re.findall(r"^\| `([^`]+)` \|", PAGE, flags=re.MULTILINE))
    assert reasons == set(_requirements())


def test_every_library_has_bounds_and_a_pin() -> None:
    unbounded = [each for each in _requirements().values() if ">=" not in each or "<" not in each]
    assert unbounded == []
    unpinned = [name for name in _requirements() if name.lower() not in PINS]
    assert unpinned == []
