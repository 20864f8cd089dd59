"""The first signal asks a worker to end; a second one, of either kind, ends it at once."""

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import time
from stream_worker.process import _stop_on_signal

_stop_on_signal(lambda: print("asked", flush=True))
print("up", flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_either_kind_ends_the_process(first: signal.Signals, second: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        worker.send_signal(first)
        assert worker.stdout.readline() == "asked\n"
        worker.send_signal(second)
        assert worker.wait(20) == -second
