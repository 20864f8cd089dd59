"""A stop text ends a reply and is not part of it: neither of what is said, nor of what the model is told next."""

from dataclasses import replace

import pytest

from stream_worker.contracts.internal import state_key
from stream_worker.conversation.state import load_state
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Generated, Result
from stream_worker.stages.prompter import MessagePrompter, PreparedPrompt
from stream_worker.tokens import StoredPrompt
from tests.unit.worker.rig import Rig
from tests.unit.worker.test_faults import Failing


class _KeepsIds(MessagePrompter):
    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...], suffix: str) -> StoredPrompt | None:
        return StoredPrompt(hash="h", ids=sampled, covers=2)


class _StopsAtText(Failing):
    def step(self) -> list[Result]:
        return [
            replace(result, stopped_at_text=True) if isinstance(result, Generated) else result
            for result in super().step()
        ]


@pytest.mark.parametrize("stopped", [False, True])
def test_ids_of_a_reply_are_kept_only_where_they_say_what_the_text_says(stopped: bool) -> None:
    def wrap(inner: Stepper) -> Stepper:
        return _StopsAtText(inner) if stopped else inner

    rig = Rig(prompter=_KeepsIds(), wrap=wrap)
    rig.start()
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(1.0)
    (raw,) = [
        record.value
        for record in rig.broker.read_committed(rig.settings.changelog)
        if record.key == state_key("c-1") and record.value
    ]
    assert (load_state(raw).prompt is None) == stopped
