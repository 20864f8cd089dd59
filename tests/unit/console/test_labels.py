"""What was hardly understood waits until somebody says what it means; what they chose can be learnt from."""

from pathlib import Path

import pytest

from stream_worker.console.labels import MOST, unsure
from stream_worker.contracts.analysis import IntentEvidence
from stream_worker.training.rasa_yaml import read_rasa_yaml
from tests.unit.console import records
from tests.unit.console.site import TOKEN, Site


def scores(*values: float) -> list[IntentEvidence]:
    return [IntentEvidence(name=f"i{number}", score=value) for number, value in enumerate(values)]


def heard(site: Site, event_id: str, text: str, offset: int, *values: float, in_scope: bool = True) -> str:
    """A message and how it was understood; the name of its field."""
    analysis = records.analysis("c", event_id, intents=scores(*values), in_scope=in_scope, slots=[])
    for role, record in (records.event("c", event_id, offset, text=text), analysis):
        site.board.take(role, record)
    return f"{records.turn_of('c', event_id)} c"


@pytest.mark.parametrize(
    ("values", "in_scope", "waits"),
    [
        ((0.9, 0.05), True, False),
        ((0.5, 0.45), True, True),
        ((0.9, 0.05), False, True),
        ((0.2,), True, False),
        ((), False, False),
    ],
)
def test_what_is_in_doubt_waits(values: tuple[float, ...], in_scope: bool, waits: bool) -> None:
    site = Site()
    heard(site, "e-1", "hello there", 0, *values, in_scope=in_scope)
    assert bool(unsure(site.board)) is waits
    assert ("hello there" in site.ask("/labels")[2]) is waits


def test_what_was_chosen_is_one_file_to_learn_from_and_waits_no_more() -> None:
    site = Site()
    first = heard(site, "e-1", "will it - rain?", 0, 0.5, 0.45)
    second = heard(site, "e-2", "sing to me", 1, 0.2, 0.1, in_scope=False)
    left = heard(site, "e-3", "hm", 2, 0.2, 0.15)
    csrf = site.access.csrf
    assert site.ask("/labels", form={first: "", "csrf": csrf})[0] == 422, "nothing was chosen"
    assert site.ask("/labels", form={first: "i1"})[0] == 403, "of another site"
    form = {first: "i1", second: "out_of_scope", left: "", "gone c": "i0", "csrf": csrf}
    status, headers, body = site.ask("/labels", form=form)
    assert (status, headers["content-disposition"]) == (200, 'attachment; filename="examples.yml"')
    learnt = read_rasa_yaml(Path("examples.yml"), body)
    assert {(each.text, each.intent) for each in learnt.examples} == {
        ("will it - rain?", "i1"),
        ("sing to me", "out_of_scope"),
    }
    page = site.ask("/labels")[2]
    assert "sing to me" not in page
    assert "hm</label>" in page
    assert "2 that were saved" in page


def test_the_queue_is_bounded() -> None:
    site = Site()
    for number in range(MOST + 10):
        heard(site, f"e-{number}", f"text {number}", number, 0.5, 0.5)
    assert len(unsure(site.board)) == MOST


def test_who_may_not_read_labels_nothing() -> None:
    site = Site(token=TOKEN, masked=TOKEN[::-1])
    name = heard(site, "e-1", "my secret", 0, 0.5, 0.5)
    masked = f"Bearer {TOKEN[::-1]}"
    status, _, page = site.ask("/labels", authorization=masked)
    assert (status, "my secret" in page) == (200, False)
    form = {name: "i1", "csrf": site.access.csrf}
    assert site.ask("/labels", form=form, authorization=masked)[0] == 403
