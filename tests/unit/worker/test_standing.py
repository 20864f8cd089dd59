"""What a worker says of itself and of its input: joined or not, a wrong key, and where its probes answer."""

import pytest

from stream_worker.settings import Settings
from tests.unit.worker.rig import Rig, settings


def test_a_worker_is_joined_only_while_the_group_has_it() -> None:
    rig = Rig()
    running = rig.start()
    running.worker.tick()
    rig.run(3.0)
    rig.broker.down = True
    rig.run(30.0, step=0.05)
    joined = [snapshot.joined for snapshot in running.journal.snapshots]
    assert joined[1:3] == [True, True]
    rig.broker.down = False
    rig.run(30.0, step=0.05)
    assert running.journal.snapshots[-1].joined


def test_a_snapshot_before_any_membership_does_not_say_joined() -> None:
    rig = Rig()
    running = rig.start()
    rig.broker.down = True
    rig.run(2.0)
    assert not any(snapshot.joined for snapshot in running.journal.snapshots)


def test_a_wrong_key_that_is_let_in_is_warned_of_and_its_records_have_the_right_one() -> None:
    rig = Rig(settings(kafka={"on_wrong_key": "warn"}))
    running = rig.start()
    rig.send("c-1", key=b"another", message_id="m-1", text="hello")
    rig.send("c-2", message_id="m-2", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["replied"], "m-2": ["replied"]}
    (warning,) = running.journal.warnings
    assert "another key" in warning
    keys = {record.key for record in rig.broker.read_committed(rig.settings.topics.metrics)}
    assert keys == {b"c-1", b"c-2"}


@pytest.mark.parametrize(
    ("device", "port", "listens"),
    [
        ("auto", 9_464, 9_464),
        ("cuda", 9_464, 9_464),
        ("cuda:0", 9_464, 9_464),
        ("cuda:3", 9_464, 9_467),
        ("cuda:3", 0, 0),
    ],
)
def test_processes_of_one_node_have_a_port_each(device: str, port: int, listens: int) -> None:
    tree = {"device": device, "observability": {"port": port}}
    assert Settings.model_validate(tree).observability_port == listens
