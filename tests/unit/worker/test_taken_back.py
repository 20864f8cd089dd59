"""What was settled after a reply that the broker then refuses is done again, as if it came now."""

from typing import Any

from tests.unit.worker.rig import Rig, RunningWorker, settings


def _rig(commit_interval_ms: int, seconds: float, **sections: Any) -> tuple[Rig, RunningWorker]:
    """Where the reply to m-2 is refused, but not what stands for it."""
    rig = Rig(
        settings(kafka={"commit_interval_ms": commit_interval_ms}, topics={"partitions": 1}, **sections),
        seconds=lambda _: seconds,
    )
    started = rig.start()
    rig.run(commit_interval_ms / 1000 + 1.0)
    rig.send(message_id="m-1", text="one")
    rig.run(commit_interval_ms / 1000 + 1.0 + 10 * seconds)
    assert rig.outcomes == {"m-1": ["replied"]}
    rig.broker.refuse(
        rig.settings.topics.replies,
        lambda record: b'"m-2"' in (record.value or b"") and b"Sorry" not in (record.value or b""),
    )
    return rig, started


def test_a_duplicate_that_was_taken_back_is_still_one() -> None:
    rig, _ = _rig(3_000, 0.001)
    rig.send(message_id="m-2", text="two")
    rig.run(0.2)
    rig.send(message_id="m-1", text="one")
    rig.run(10.0)
    assert rig.outcomes == {"m-1": ["replied", "duplicate"], "m-2": ["dead_lettered"]}
    names = [reply["reply_id"] for reply in rig.replies]
    assert len(set(names)) == len(names)


def test_what_a_hand_off_withdrew_stays_withdrawn() -> None:
    rig, _ = _rig(3_000, 0.05)
    rig.send(message_id="m-2", text="two")
    rig.run(1.0)
    rig.send(message_id="m-3", text="three")
    rig.run(0.06)
    rig.send(type="handoff", message_id="h-1")
    rig.run(20.0)
    assert rig.outcomes["m-3"] == ["withdrawn"]
    assert not any("m-3" in reply["in_reply_to"] for reply in rig.replies)


def test_a_turn_that_starts_again_has_another_attempt() -> None:
    rig, _ = _rig(1_500, 0.3)
    rig.send(message_id="m-2", text="two")
    rig.run(0.4)
    rig.send(message_id="m-3", text="three")
    rig.run(20.0)
    assert rig.outcomes["m-3"] == ["replied"]
    pieces = [delta for delta in rig.published(rig.settings.topics.deltas) if delta["turn_id"]]
    seen = [(delta["turn_id"], delta["term"], delta["attempt"], delta["seq"]) for delta in pieces]
    assert len(set(seen)) == len(seen)


def test_a_conversation_that_vanished_meanwhile_stops_nothing() -> None:
    rig = Rig(
        settings(topics={"partitions": 1}, kafka={"commit_interval_ms": 4_000}, conversation={"dedup_ttl_s": 10}),
        seconds=lambda _: 0.001,
    )
    rig.start()
    rig.run(5.0)
    rig.send(message_id="m-1", text="one")
    rig.run(5.0)
    rig.send(type="erasure", message_id="e-1")
    rig.run(5.0)
    rig.broker.refuse(rig.settings.topics.metrics, lambda record: b'"duplicate"' in (record.value or b""))
    for _ in range(12):
        rig.send(message_id="m-1", text="one")
        rig.run(3.0)
    rig.run(20.0)
    assert rig.outcomes["e-1"] == ["silent"]
