"""When the cycle collector runs in a worker process."""

import gc

_YOUNG = 200_000
_MIDDLE, _OLD = 10, 50


def collect_seldom() -> None:
    """To be called once, when models are loaded: what stands then is never looked at again.

    A message leaves 22 tracked objects, none of them in a cycle, that live until their transaction is committed.
    With the interpreter's threshold of 700 they are gone through every 32 messages, for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
