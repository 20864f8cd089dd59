"""Runs one command as a child and ends it when our own parent is gone.

A program of its own, started by file name and importing nothing of ours. The
parent holds the other end of our standard input and never writes to it: the end
of input means that the parent has ended, however it ended. On standard output we
say the child's process id, once. Our exit code is the child's.
"""

import os
import signal
import subprocess
import sys
import threading

_GRACE_S = 5.0


def main(command: list[str]) -> None:
    # The parent decides when the broker ends, so a Ctrl-C in the terminal must not reach it:
    # our parent has put us in a session of our own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    print(child.pid, flush=True)  # noqa: T201 - this is the protocol
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _follow(child: subprocess.Popen[bytes]) -> None:
    os._exit(child.wait() & 0xFF)  # from a thread: the main one is blocked in its read


if __name__ == "__main__":
    main(sys.argv[1:])
