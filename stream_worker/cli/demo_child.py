"""A child of the demo: imports what it is told to, waits for its command line, and ends with its parent.

The parent holds the other end of our standard input and writes one line: the arguments of `stream-worker`. So the
model libraries are imported while the broker starts. The end of input means that the parent is gone, however it ended.
"""

import os
import shlex
import signal
import sys
import threading
from importlib import import_module


def main() -> None:
    for module in sys.argv[1:]:
        import_module(module)
    line = sys.stdin.readline()
    if not line:
        return
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.argv = ["stream-worker", *shlex.split(line)]
    from stream_worker.cli import app

    app.main()


def _follow_parent() -> None:
    # Not by `sys.stdin`: a thread that waits within it would keep the interpreter from ending.
    while os.read(0, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
