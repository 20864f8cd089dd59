"""Each invariant has a planted bug that makes a run fail: `python -m tests.chaos.planted [BUG ...]` runs them all.

A bug is planted in every worker, the faults that bring it to light are drawn from a seed, and the check must say what
it says here. Prints a line a bug, and ends with 1 where one was not found.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.run import Plan, chaos
from tests.kafka.sabotage import Bug

_EVENTS = 500
_SETTLES_S = 45.0


@dataclass(frozen=True, slots=True)
class Trial:
    """`finds` is how the check's sentence must begin; `only` names the faults that are drawn."""

    bug: Bug
    invariant: str
    finds: str
    only: Sequence[str]
    seed: int = 1
    minutes: float = 0.5
    events: int = _EVENTS


TRIALS = (
    Trial(Bug.ABORTED_TAKEN_FOR_COMMITTED, "nothing is lost", "lost", ["small_replies"]),
    Trial(
        Bug.REPLIES_OUTSIDE_THE_TRANSACTION, "every event has one outcome", "settled twice", ["dies_in_commit", "kill"]
    ),
    Trial(Bug.LEDGER_IGNORED, "every event has one outcome", "settled twice", ["kill"]),
    # A static member is refused with it, so that no partition is ever taken.
    Trial(Bug.MEMBERSHIP_FROM_BEFORE_JOINING, "a frozen worker commits nothing", "did not come about", ["zombie"]),
    Trial(
        Bug.RELEASED_BY_THE_LOOP,
        "what was given away is not committed",
        "settled twice",
        # So that many turns are in hand, and long, while others take their partitions.
        ["guest", "engine_hangs"],
        minutes=1.0,
        events=3_000,
    ),
    Trial(Bug.IDS_NOT_REMEMBERED, "no event is answered twice", "answered twice", ["kill", "guest"]),
    Trial(Bug.LAST_COMES_FIRST, "replies are in order", "out of order", ["engine_hangs"]),
    Trial(Bug.TERM_LOWERED, "a ledger never goes back", r"partition \d+: the term went back", ["kill"]),
    Trial(Bug.COMMANDS_OUTSIDE_THE_TRANSACTION, "a command goes with its reply", "a command", ["dies_in_commit"]),
    Trial(Bug.DEAD_LETTERS_DROPPED, "a dead letter is kept", "dead letters and outcomes differ", ["poison"]),
    Trial(Bug.SUSPECT_ACQUITTED, "a poison event ends", "have no outcome", ["poison"]),
    Trial(Bug.CONDEMNED_AT_ONCE, "only suspects are condemned", "condemned without suspicion", ["kill"]),
    Trial(
        Bug.STATE_NOT_RESTORED,
        "replies follow from what was committed",
        "does not follow|state lost|while a human had",
        ["kill", "lose_state"],
    ),
    Trial(Bug.SLOTS_FORGOTTEN, "the state is what was said: slots", "state differs: .* other slots", ["terminate"]),
    Trial(Bug.HANDOFF_FORGOTTEN, "nobody is answered while a human has it", "while a human had", ["terminate"]),
    Trial(Bug.PREVIEWS_CUT, "previews add up", "the preview of .* does not add up", ["terminate"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bugs", nargs="*", type=Bug, help="all without")
    wanted = parser.parse_args().bugs
    missed = [trial.bug.value for trial in TRIALS if (not wanted or trial.bug in wanted) and not _found(trial)]
    if missed:
        print(f"Not found: {', '.join(missed)}", file=sys.stderr)
        sys.exit(1)


def _found(trial: Trial) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    plan = Plan(
        seed=trial.seed,
        events=trial.events,
        minutes=trial.minutes,
        chatlogs=Path("none"),
        folder=folder,
        only=frozenset(trial.only),
        bug=trial.bug,
        settles_s=_SETTLES_S,
    )
    try:
        violation = (chaos(plan)["violation"] or "none").removeprefix("VIOLATION: ").strip()
    except AssertionError as error:
        violation = f"the run did not come about: {error}"
    found = re.search(trial.finds, violation) is not None
    verdict = "found" if found else "MISSED"
    print(f"{trial.bug.value} | {trial.invariant} | seed {trial.seed} | {verdict}: {violation[:150]}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return found


if __name__ == "__main__":
    main()
