"""The checker: reads everything a run left in its topics, and recomputes what must be there.

    python -m tests.chaos.check BOOTSTRAP_SERVERS SETTINGS.json

A program of its own: it knows nothing of what was done to the run. It ends with 0 and a line of figures, or with 1
and what is wrong.
"""

import sys
from pathlib import Path
from typing import Any

import orjson

from stream_worker.kafka.topic_admin import connect, describe
from stream_worker.settings import Settings
from tests.chaos.gaps import gaps
from tests.chaos.switches import CRASHING, HANGING
from tests.chaos.understanding import chaos_bot, understood
from tests.kafka.topic_reader import TopicReader
from tests.replay import Replay

_A_DAY_MS = 86_400_000


def main() -> None:
    servers, file = sys.argv[1:]
    tree = orjson.loads(Path(file).read_bytes())
    settings = Settings.model_validate(tree | {"kafka": tree["kafka"] | {"bootstrap_servers": servers}})
    try:
        figures = check(settings, Path(file).parent)
    except AssertionError as violation:
        print(f"VIOLATION: {violation}")
        sys.exit(1)
    print(orjson.dumps(figures).decode())


def check(settings: Settings, folder: Path) -> dict[str, Any]:
    """Raises AssertionError with the first violation found; otherwise what the run came to."""
    outputs = TopicReader(settings)
    delivery = outputs.delivery(poison=(CRASHING, HANGING), is_whole=_is_whole(settings))
    silences = gaps(outputs.arrived_at, outputs.settled_at)
    outputs.close()
    window = settings.conversation.dedup_window
    figures = delivery.check(Replay(bot=chaos_bot(folder), dedup_window=window, understand=understood))
    return figures | {"gaps": [list(each) for each in silences]}


def _is_whole(settings: Settings) -> bool:
    """Whether no segment of the changelog was old enough to be compacted."""
    facts = describe(connect(settings), [settings.changelog])[settings.changelog]
    return facts.number("segment.ms") >= _A_DAY_MS


if __name__ == "__main__":
    main()
