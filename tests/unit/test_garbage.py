"""A worker's collector looks seldom, and never at what the models left."""

import subprocess
import sys

_SCRIPT = """
import gc
from stream_worker.garbage import collect_seldom

class Model:
    def __init__(self):
        self.itself = self

models, frozen = [Model() for _ in range(1_000)], gc.get_freeze_count()
assert frozen == 0
collect_seldom()
assert gc.get_freeze_count() > 1_000, "what was loaded is gone through each time"

looked = []
gc.callbacks.append(lambda phase, facts: looked.append(facts["generation"]) if phase == "stop" else None)
in_hand = [[number] for number in range(32 * 22)]
assert looked == [], "the messages of one tick are gone through"
cycles = [Model() for _ in range(200_000)]
assert looked, "cycles are never collected"
del cycles
before = len(gc.get_objects())
gc.collect()
assert len(gc.get_objects()) < before - 150_000, "what is frozen is more than what was loaded"
assert all(model.itself is model for model in models)
"""


def test_what_was_loaded_is_left_alone_and_cycles_of_later_are_still_collected() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)
