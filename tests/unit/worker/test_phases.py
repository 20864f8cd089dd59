"""A control event ends a turn in whatever phase it is, at once, and nothing of that turn comes after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_worker.bot.loader import load_bot
from stream_worker.orders import Call, Encode, Encoded, Fault, IntentScore, Result, TurnRef
from stream_worker.turn import Calling, Generating, Resting, Understanding
from stream_worker.turns import Turns
from tests.unit.worker.rig import Rig, settings
from tests.unit.worker.test_faults import Failing

_BOT = """
bot: helper
understanding: heads
intents:
  weather:
    call: [{name: sky, url: "https://w.example/", error: No weather now.}]
    reply: {template: Sunny.}
  slowly: {reply: model}
  at-once: {reply: {template: Done.}}
"""

#: What is said, and what then holds the turn: the phase that it stays in. `None` is no phase: it has not begun.
_PHASES: dict[str, tuple[str, type | None, dict[str, Any]]] = {
    "waits for more messages": (
        "slowly",
        None,
        {"admission": {"on_new_message": "merge", "merge_window_ms": 9_000}},
    ),
    "waits for room": ("slowly", None, {"admission": {"max_running_turns": 1}}),
    "is being understood": ("mumbled", Understanding, {}),
    "waits for a call": ("weather", Calling, {}),
    "is being generated": ("slowly", Generating, {}),
    "rests after a failure": ("slowly", Resting, {"admission": {"retry_backoff_ms": 60_000, "max_attempts": 9}}),
    "is answered and not committed": ("at-once", None, {"kafka": {"commit_interval_ms": 2_000}}),
}


class _Understands:
    """Every text is the intent it names; one that is mumbled is never understood."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        return [
            Encoded(
                ref=order.ref,
                intents=(IntentScore(order.text, 0.9),),
                in_scope=True,
                scope=0.9,
                slots=(),
                batch_size=1,
                seconds=0.0,
            )
            for order in orders
            if order.text != "mumbled"
        ]


class _Unreachable:
    """Calls that nobody answers."""

    def __init__(self, report: Callable[[Result], None]) -> None: ...

    def submit(self, order: Call) -> None: ...

    def cancel(self, ref: TurnRef, calls: int) -> None: ...


def _rig(folder: Path, **changes: Any) -> tuple[Rig, list[Failing]]:
    file = folder / "bot.yaml"
    file.write_text(_BOT)
    engines: list[Failing] = []

    def wrap(inner: Any) -> Failing:
        engines.append(Failing(inner))
        return engines[-1]

    configured = settings(topics={"partitions": 1}, **changes)
    rig = Rig(
        configured,
        bot=load_bot(file, configured),
        seconds=lambda _: 20.0,
        encoder=_Understands(),
        caller=_Unreachable,
        wrap=wrap,
    )
    held = rig.start().worker._assignments
    while not (held and held[0].is_serving):
        rig.run(0.05)
    return rig, engines


def control_ends_it(folder: Path, phase: str, kind: str) -> None:
    said, expected, changes = _PHASES[phase]
    rig, (engine,) = _rig(folder, **changes)
    if phase == "waits for room":
        rig.send("c-other", message_id="m-other", text="slowly")
        rig.run(0.1)
    if expected is Resting:
        engine.fault = Fault.EVENT
    rig.send(message_id="m-1", text=said)
    rig.run(0.5)
    worker = rig.workers["w0"].worker
    turns = [each for each in worker._assignments[0].turns.values() if each.turn.conversation == "c-1"]
    assert [type(each) for each in turns] == ([expected] if expected else []), f"not in the phase: {phase}"
    was_answered = phase == "is answered and not committed"
    assert (len(worker._outbox), rig.outcomes) == (int(was_answered), {})
    target: dict[str, Any] = {"target_id": "m-1"} if kind == "deletion" else {}
    rig.send(type=kind, message_id="control", **target)
    rig.run(3.0)
    ended = {name: outcomes for name, outcomes in rig.outcomes.items() if name != "m-other"}
    # A deletion of what is answered changes the history; of anything else it ends with its message.
    joined = kind == "deletion" and not was_answered
    assert ended == {
        "m-1": ["replied" if was_answered else "withdrawn"],
        "control": ["withdrawn" if joined else "silent"],
    }
    assert [metric["event_id"] for metric in rig.metrics if metric["event_id"] != "m-other"] == ["m-1", "control"]
    engine.fault = None
    rig.run(60.0, step=0.05)
    assert [reply["in_reply_to"] for reply in rig.replies if reply["conversation_id"] == "c-1"] == (
        [["m-1"]] if was_answered else []
    )


@pytest.mark.parametrize("kind", ["handoff", "erasure", "deletion"])
@pytest.mark.parametrize("phase", _PHASES)
def test_a_control_event_ends_a_turn_at_once(tmp_path: Path, phase: str, kind: str) -> None:
    control_ends_it(tmp_path, phase, kind)


def test_a_turn_that_goes_on_after_its_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "cancel", lambda *_: None)
    with pytest.raises((AssertionError, KeyError)):
        control_ends_it(tmp_path, "is being generated", "handoff")
