"""`make fuzz`: the properties marked `fuzz`, round after round with other seeds, until the time is over or one fails.

    python -m tests.fuzz --minutes 10 --seed 1

A failure prints the example, shrunk, and is kept in `.hypothesis`: the next run begins with it. Keep it with the
property as an `@example`.
"""

import argparse
import subprocess
import sys
import time

_EVERY = ("tests/unit", "-m", "fuzz", "--hypothesis-profile=fuzz", "-v", "-x", "--timeout=900")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones count on from it")
    given = parser.parse_args()
    end, seed = time.monotonic() + given.minutes * 60, given.seed
    while time.monotonic() < end:
        sys.stderr.write(f"round with seed {seed}\n")
        command = [sys.executable, "-m", "pytest", *_EVERY, f"--hypothesis-seed={seed}"]
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)
        seed += 1


if __name__ == "__main__":
    main()
