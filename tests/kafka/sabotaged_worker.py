"""`stream-worker` made ready for a test: `python -m tests.kafka.sabotaged_worker [OPTION] [BUG] run --config FILE`.

At SIGUSR1 it writes to its log where its threads stand. Its engine dies of the text `poison`, as of a bug in a kernel,
and hangs for ever at `tar`.

With `--writes-format-1` it is a former version: its states are of format 1; with `--reads-format-1`, moreover, it knows
no later one.

With `--freeze` the process stops itself (SIGSTOP) in its first transaction with a reply, when the records are queued
and before the offsets are sent: the moment at which a zombie is most dangerous, and which no test could hit from
outside. With `--freeze-sent` the records have left: the transaction is open in every log that has one of them.
"""

import faulthandler
import os
import signal
import sys
import time

import msgspec

from stream_worker.cli.app import main
from stream_worker.conversation import state
from stream_worker.conversation.dialogue import NEW
from stream_worker.conversation.state import ConversationState
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.kafka.protocols import Batch
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.orders import Generate
from stream_worker.tokens import PromptMessages
from tests.kafka.sabotage import Bug, plant


def _freeze_in_the_first_reply(*, sent: bool) -> None:
    honest = KafkaTransactions._send

    def send_and_freeze(self: KafkaTransactions, batch: Batch, deadline: float) -> None:
        honest(self, batch, deadline)
        if any(record.partition is None for record in batch.records):
            if sent:
                self._flush(deadline)
            KafkaTransactions._send = honest  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGSTOP)

    KafkaTransactions._send = send_and_freeze  # type: ignore[method-assign]


def _die_of_poison_and_stick_in_tar() -> None:
    honest = ScriptedStepper.add

    def add(self: ScriptedStepper, order: Generate) -> None:
        prompt = order.prompt
        said = prompt.messages[-1].text if isinstance(prompt, PromptMessages) else ""
        if said == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        while said == "tar":
            time.sleep(1)
        honest(self, order)

    ScriptedStepper.add = add  # type: ignore[method-assign]


def _write_format_1() -> None:
    def dump(self: ConversationState) -> bytes:
        """One intent for everybody, and no names."""
        dialogue = next(reversed(self.dialogues.values()), NEW)
        frame = dialogue.active
        history = [{name: getattr(line, name) for name in _FORMER_LINE} for line in self.history]
        return msgspec.json.encode(
            {
                "format": 1,
                "history": history,
                "intent": None if frame is None else frame.intent,
                "slots": {} if frame is None else frame.slots,
                "holder": self.holder,
                "turns": self.turns,
                "prompt": self.prompt,
                "remembered": self.remembered,
            }
        )

    ConversationState.dump = dump  # type: ignore[method-assign]


def _read_format_1() -> None:
    state.STATE_FORMAT = 1


_FORMER_LINE = ("speaker", "text", "event_id", "at")
_FORMER = {"--writes-format-1": _write_format_1, "--reads-format-1": _read_format_1}

if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    _die_of_poison_and_stick_in_tar()
    while (argument := sys.argv[1]) != "run":
        if argument in ("--freeze", "--freeze-sent"):
            _freeze_in_the_first_reply(sent=argument == "--freeze-sent")
        elif argument in _FORMER:
            _FORMER[argument]()
        else:
            plant(Bug(argument))
        del sys.argv[1]
    main()
