"""A sample of the histories of one conversation through the real broker, with a worker that is killed half-way."""

from dataclasses import replace

import pytest

from stream_worker.conversation.state import EMPTY
from stream_worker.turn_taking import OnNewMessage, TurnTaking
from tests import checker, histories
from tests.histories import Writer, random_history
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.unit.worker.rig import MODEL_BOT

_HISTORIES = 40
_STEPS = 16
_SEED = 2_000


@pytest.mark.parametrize("mode", OnNewMessage)
def test_histories_keep_what_is_promised_on_a_real_broker(settings_for: SettingsFor, mode: OnNewMessage) -> None:
    settings = settings_for(partitions=4, kafka=QUICK)
    bot = replace(MODEL_BOT, turn_taking=TurnTaking(on_new_message=mode, merge_window_ms=60, max_hold_ms=2_000))
    written = [Writer(f"c-{number}") for number in range(_HISTORIES)]
    steps = [random_history(_SEED + number, _STEPS) for number in range(_HISTORIES)]
    with Cluster(settings, scripted(histories.echo, lambda _: 0.02), bot=bot) as cluster:
        cluster.start()
        for number_of_round, round_ in enumerate(zip(*steps, strict=True)):
            for writer, (kind, number) in zip(written, round_, strict=True):
                if kind not in ("wait", "crash"):
                    cluster.events.write(writer.event(kind, number))
            cluster.run_for(0.05)
            if number_of_round == _STEPS // 2:
                cluster.crash()
                cluster.start("b")
        events = sum(len(writer.events) for writer in written)
        cluster.run_until(lambda: len(cluster.outputs.metrics) >= events, "every event is settled", 60.0)
        cluster.run_for(0.5)
        states = checker.last_states(cluster.outputs.changelog)
        for writer in written:
            of = [
                [value for value in values if value["conversation_id"] == writer.conversation]
                for values in (cluster.outputs.metrics, cluster.outputs.replies)
            ]
            histories.check(writer.events, of[0], of[1], states.get(writer.conversation, EMPTY))
