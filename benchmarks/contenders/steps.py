"""Where a worker's processor time goes, by step: samples of the main thread's stack, taken by a timer."""

import signal
from collections import Counter
from types import FrameType

#: The innermost of these functions on the stack names the step.
STEPS = {
    "KafkaSubscription.take": "poll",
    "decode": "decode",
    "Ledger.see": "ledger",
    "Mailbox.put": "mailbox",
    "Parser.parse": "parse",
    "decide": "dialogue",
    "Publication.of_turn": "build records",
    "apply": "apply changes",
    "Settler._add": "outbox",
    "Reporter.replied": "metrics",
    "Reporter.settled": "metrics",
    "Counting.settled": "metrics",
    "Committer._fill": "state and ledger records",
    "KafkaTransactions.commit": "produce and commit",
    "Committer.commit": "bookkeeping of the commit",
}
_INTERVAL_S = 0.002


class StepSampler:
    """Samples from when it is made; the timer counts processor time of the whole process."""

    def __init__(self) -> None:
        self._samples: Counter[str] = Counter()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def shares(self) -> dict[str, float]:
        """Stops, and says which part of the samples fell on each step."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        total = self._samples.total() or 1
        return {step: count / total for step, count in self._samples.most_common()}

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None:
            step = STEPS.get(frame.f_code.co_qualname)
            if step is not None:
                break
            frame = frame.f_back
        self._samples[step if frame is not None and step is not None else "the rest"] += 1
