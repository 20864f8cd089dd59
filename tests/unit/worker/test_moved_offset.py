"""Who moves the group's offset back wants those events answered again: under another reply id, over any restart."""

from tests.unit.worker.rig import Rig, settings


def _move_back(rig: Rig, partition: int, offset: int) -> None:
    group = rig.broker.group(rig.settings.application_id, rig.settings.topics.events)
    group._committed[partition] = offset


def test_what_lies_below_a_moved_offset_is_answered_again_and_once() -> None:
    rig = Rig(settings(topics={"partitions": 1}))
    rig.start()
    for number in range(3):
        rig.send(message_id=f"m-{number}", text="hello")
    rig.run(2.0)
    rig.stop()
    _move_back(rig, 0, 1)
    rig.start("w1")
    rig.run(2.0)
    rig.send(message_id="m-3", text="hello")
    rig.send(message_id="m-2", text="hello")
    rig.run(2.0)
    assert rig.outcomes == {
        "m-0": ["replied"],
        "m-1": ["replied"] * 2,
        "m-2": ["replied", "replied", "duplicate"],
        "m-3": ["replied"],
    }
    assert len({reply["reply_id"] for reply in rig.replies}) == len(rig.replies) == 6


def test_a_redrive_goes_on_where_a_killed_worker_left_it() -> None:
    rig = Rig(settings(topics={"partitions": 1}), seconds=lambda _: 0.4)
    rig.start()
    for number in range(4):
        rig.send(message_id=f"m-{number}", text="hello")
    rig.run(20.0, step=0.02)
    rig.stop()
    _move_back(rig, 0, 0)
    rig.start("w1")
    rig.run(4.0)
    answered = sum(len(each) for each in rig.outcomes.values())
    assert 4 < answered < 8, "killed in the middle"
    rig.kill("w1")
    rig.start("w2")
    rig.run(40.0, step=0.02)
    assert rig.outcomes == {f"m-{number}": ["replied"] * 2 for number in range(4)}
    assert len({reply["reply_id"] for reply in rig.replies}) == len(rig.replies) == 8
