"""The report of an evaluation: JSON for programs, and one page that needs no network."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment

from stream_worker.inference.evidence import EvidenceMethod, explain
from stream_worker.inference.heads import Heads
from stream_worker.training.evaluate import Evaluation, Verdict
from stream_worker.training.scores import Change, Counts

_FORMAT = 1
_MOST_MISTAKES = 100
_MOST_CONFUSED = 60
"""Larger matrices show only the intents with mistakes, the most confused first."""


def last_verdicts(file: Path) -> dict[str, bool]:
    """Which examples the last run got right, by their ids; none when there was none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return {}
    return {str(name): bool(right) for name, right in content.get("verdicts", {}).items()}


def summary(result: Evaluation, changed: Change | None, about: dict[str, object]) -> dict[str, Any]:
    """All figures, and which example was right, by ids that say nothing of its text."""
    scope = result.scope
    return {
        "format": _FORMAT,
        **about,
        "examples": result.examples,
        "accuracy": result.accuracy,
        "accuracy_in_scope": result.accuracy_in_scope,
        "slot_f1": result.slot_f1,
        "calibration_error": result.calibration_error,
        "milliseconds_a_message": result.milliseconds,
        "out_of_scope": None
        if scope is None
        else {
            "area_under_roc": scope.area_under_roc,
            "found_at_3_percent_rejected": scope.found_at_false_alarms,
            "rejected": scope.rejected,
            "found": scope.found,
            "curve": [{"rejected": point.rejected, "found": point.found} for point in scope.curve],
        },
        "reliability": [
            {"low": one.low, "high": one.high, "count": one.count, "score": one.score, "right": one.right}
            for one in result.reliability
        ],
        "scores": [
            _score(kind, name, counts)
            for kind, group in (("intent", result.intents), ("slot", result.slots))
            for name, counts in group.items()
        ],
        "confusion": [
            {"expected": expected, "found": found, "count": count}
            for (expected, found), count in sorted(result.confusion.items())
        ],
        "change": None
        if changed is None
        else {"examples": changed.examples, "gained": changed.gained, "lost": changed.lost, "p": changed.p},
        "verdicts": {verdict.id: verdict.right for verdict in result.verdicts},
    }


def write_report(folder: Path, result: Evaluation, summed: dict[str, Any], heads: Heads) -> None:
    """`evaluation.json` and `index.html`. The page shows the texts that were misunderstood, with evidence."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_bytes(orjson.dumps(summed, option=orjson.OPT_INDENT_2))
    wrong = [verdict for verdict in result.verdicts if not verdict.right or verdict.slot_errors]
    wrong.sort(key=lambda verdict: (verdict.right, -verdict.understood.intents[0].score))
    template = (files("stream_worker") / "templates" / "nlu_report.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    html = page.render(
        summed=summed,
        matrix=_matrix(result),
        mistakes=[_mistake(verdict, heads) for verdict in wrong[:_MOST_MISTAKES]],
        mistakes_count=len(wrong),
    )
    (folder / "index.html").write_text(html, encoding="utf-8", errors="replace")


def _score(kind: str, name: str, counts: Counts) -> dict[str, object]:
    return {
        "kind": kind,
        "name": name,
        "examples": counts.right + counts.missed,
        "precision": round(counts.precision, 4),
        "recall": round(counts.recall, 4),
        "f1": round(counts.f1, 4),
    }


def _matrix(result: Evaluation) -> dict[str, Any]:
    """Rows of what was expected, columns of what was found, each cell a count and its share of the row."""
    names = sorted({name for pair in result.confusion for name in pair})
    wrong = dict.fromkeys(names, 0)
    for (expected, found), count in result.confusion.items():
        if expected != found:
            wrong[expected] += count
            wrong[found] += count
    if len(names) > _MOST_CONFUSED:
        names = sorted(sorted(names, key=lambda name: -wrong[name])[:_MOST_CONFUSED])
    totals = {name: sum(result.confusion.get((name, other), 0) for other in wrong) for name in names}
    rows = [
        [
            (count := result.confusion.get((expected, found), 0), count / totals[expected] if totals[expected] else 0.0)
            for found in names
        ]
        for expected in names
    ]
    return {"names": names, "rows": rows, "all": len(names) == len(wrong)}


def _mistake(verdict: Verdict, heads: Heads) -> dict[str, Any]:
    """With the evidence of its intent or scope, whichever misled."""
    (read,) = heads.encoder.read([verdict.example.text])
    evidence = explain(heads, read, verdict.understood, EvidenceMethod.GRADIENT)
    of_scope = verdict.found == "out_of_scope"
    words = evidence[1 if of_scope else 0].words if evidence else ()
    pieces: list[tuple[str, float]] = []
    last = 0
    text = verdict.example.text
    for word in words:
        pieces += [(text[last : word.start], 0.0), (text[word.start : word.end], word.weight)]
        last = word.end
    return {
        "place": verdict.example.place,
        "expected": verdict.example.intent,
        "found": verdict.found,
        "score": verdict.understood.intents[0].score,
        "scope": verdict.understood.scope,
        "pieces": [*pieces, (text[last:], 0.0)],
        "expected_slots": [f"{slot.name}={text[slot.start : slot.end]}" for slot in verdict.example.slots],
        "found_slots": [f"{slot.name}={text[slot.start : slot.end]}" for slot in verdict.understood.slots],
        "slots_wrong": verdict.slot_errors,
    }
