"""Calls that are answered from a golden conversation's file: nothing is reached over the network."""

from collections.abc import Callable, Mapping

from stream_worker.golden.conversation import AnswerFile
from stream_worker.orders import Call, Called, CallFailed, TurnRef

_MISSING = "the conversation's `actions` have no answer for it"


class ScriptedCaller:
    """A `Caller`. Every call is kept in `made`."""

    def __init__(self, report: Callable[[Called | CallFailed], None]) -> None:
        self._report = report
        self._answers: dict[str, list[AnswerFile]] = {}
        self.made: list[Call] = []

    def play(self, answers: Mapping[str, tuple[AnswerFile, ...]]) -> None:
        """From now on calls get these answers, each name's in turn; the last one stays."""
        self._answers = {name: list(given) for name, given in answers.items()}

    def submit(self, order: Call) -> None:
        self.made.append(order)
        given = self._answers.get(order.name)
        answer = (given.pop(0) if len(given) > 1 else given[0]) if given else AnswerFile(fail=_MISSING)
        if answer.fail is not None:
            self._report(CallFailed(ref=order.ref, number=order.number, message=answer.fail, seconds=0.0))
        else:
            self._report(Called(ref=order.ref, number=order.number, result=answer.result, seconds=0.0))

    def cancel(self, ref: TurnRef, calls: int) -> None:
        """Every call has ended when it was made."""
