"""How a command ends: its exit codes, what each means, and which error ends with which."""

from enum import IntEnum

from stream_worker.errors import (
    Misconfigured,
    Missing,
    PartitionRefused,
    StateUnreadable,
    StreamWorkerError,
    UnsafeChange,
)


class ExitCode(IntEnum):
    FINE = 0
    FINDINGS = 1
    WRONG_USAGE = 2
    MISSING = 3
    UNSAFE = 4
    NOTHING_TO_TEST = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self][0]

    @property
    def when(self) -> str:
        """Which commands end so, and what to do."""
        return _MEANINGS[self][1]


_MEANINGS = {
    ExitCode.FINE: (
        "fine",
        "What was asked for is done. A worker that was told to stop (SIGTERM, or Ctrl-C) and gave its partitions back.",
    ),
    ExitCode.FINDINGS: (
        "findings, or the worker had to end",
        "`doctor`, `topics check`, `config check --online`, `schemas --check`, `nlu validate`, `test`, `health` and "
        "`status --timeout` found something that is not as it should be; a question was answered with no; a worker was "
        "fenced, or its clients failed too often: its supervisor starts it again.",
    ),
    ExitCode.WRONG_USAGE: (
        "wrong usage or configuration",
        "An unknown command, option, key or variable, a value out of bounds, a bot file that is wrong. Starting it "
        "again does not help before a person has changed it.",
    ),
    ExitCode.MISSING: (
        "something is missing",
        "A broker, a topic, a model, a model server or a worker is not there. Starting it again helps once it is.",
    ),
    ExitCode.UNSAFE: (
        "refused as unsafe",
        "`init` into a folder that is not empty; a change without `--yes` where nobody can be asked; a dead letter "
        "that was sent back before, without `--again`; `topics repartition` while workers run or events "
        "wait; state or offsets that cannot be trusted.",
    ),
    ExitCode.NOTHING_TO_TEST: ("nothing to test", "`test` found no conversation."),
    ExitCode.INTERRUPTED: ("interrupted", "Ctrl-C, of every command but `run`. Nothing is lost or left running."),
}


def exit_code(error: StreamWorkerError) -> ExitCode:
    match error:
        case Misconfigured():
            return ExitCode.WRONG_USAGE
        case Missing():
            return ExitCode.MISSING
        case PartitionRefused() | StateUnreadable() | UnsafeChange():
            return ExitCode.UNSAFE
        case _:
            return ExitCode.FINDINGS
