"""What came of golden conversations: for a terminal, for CI (JUnit XML), and as one page of HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from xml.etree import ElementTree

from jinja2 import Environment

from stream_worker.golden.coverage import Covered
from stream_worker.golden.play import Looked, Played


@dataclass(frozen=True, slots=True)
class Report:
    """`rounds` are the repetitions, each with every conversation once."""

    rounds: tuple[tuple[Played, ...], ...]
    coverage: tuple[Covered, ...]
    seconds: float

    @property
    def played(self) -> tuple[Played, ...]:
        return tuple(each for round_ in self.rounds for each in round_)

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.played)

    def flakes(self) -> dict[str, float]:
        """The share of failures of every conversation that did not always come out the same."""
        failures: dict[str, list[bool]] = {}
        for each in self.played:
            failures.setdefault(each.golden.name, []).append(not each.passed)
        return {name: sum(found) / len(found) for name, found in failures.items() if 0 < sum(found) < len(found)}


def lines(report: Report) -> Iterator[str]:
    """The failures with all that was seen, then the sums."""
    for each in report.played:
        if not each.passed:
            yield from failure(each)
    for name, share in report.flakes().items():
        yield f"flaky: {name} failed {share:.0%} of {len(report.rounds)} times"
    yield "; ".join(each.line() for each in report.coverage)
    failed = sum(not each.passed for each in report.played)
    yield f"{len(report.played) - failed} passed, {failed} failed in {report.seconds:.1f} s"


def failure(played: Played) -> Iterator[str]:
    yield f"FAILED {played.golden.name}  ({played.golden.document.where(('conversation',))})"
    if played.stuck:
        yield f"  {played.stuck}"
    for look in played.looks:
        if look.differences:
            yield f"  {played.golden.document.where(('steps', look.step))}  after: {look.said}"
            for each in look.differences:
                yield f"    {each.key}"
                yield f"      - {each.expected}"
                yield f"      + {each.found}"
            yield from (f"    | {line}" for line in look.seen.lines())


def junit(report: Report) -> str:
    suite = ElementTree.Element("testsuite", name="stream-worker test", time=f"{report.seconds:.3f}")
    failed = 0
    for number, round_ in enumerate(report.rounds, start=1):
        for each in round_:
            name = each.golden.name if len(report.rounds) == 1 else f"{each.golden.name} ({number})"
            case = ElementTree.SubElement(
                suite, "testcase", classname=each.golden.path.stem, name=name, time=f"{each.seconds:.3f}"
            )
            if not each.passed:
                failed += 1
                found = ElementTree.SubElement(case, "failure", message=_first_difference(each))
                found.text = "\n".join(failure(each))
    suite.set("tests", str(len(report.played)))
    suite.set("failures", str(failed))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def html(report: Report) -> str:
    """One file, without anything from elsewhere."""
    source = files("stream_worker").joinpath("golden/report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(report=report, seen=_seen)


def _seen(look: Looked) -> Sequence[str]:
    return list(look.seen.lines())


def _first_difference(played: Played) -> str:
    for look in played.looks:
        for each in look.differences:
            return f"{each.key}: {each.found!r} instead of {each.expected!r}"
    return played.stuck
