"""How close to ideal packing is work whose length varies a hundredfold, in order per conversation, exactly once?

2,000 messages of 500 conversations in 8 partitions, each waiting 10 ms to 1 s, 64 in flight. Ideal is the sum of the
waits over 64; one at a time is their sum.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka.admin import AdminClient
from echo import CONTENDERS, worker_settings
from harness import broker, create_topics, fresh_name, load, parser, read_back, report, run_contender

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table

_IN_FLIGHT = 64
_CONVERSATIONS = 500


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--messages", type=int, default=2_000)
    given = options.parse_args()
    drawn = random.Random(7)
    waits = [drawn.uniform(0.01, 1.0) for _ in range(given.messages)]
    ideal = sum(waits) / _IN_FLIGHT
    with broker() as servers, TemporaryDirectory() as folder:
        seconds = _run(servers, waits, Path(folder))
    results = {
        "stream_worker_seconds": round(seconds, 2),
        "ideal_seconds": round(ideal, 2),
        "one_at_a_time_seconds": round(sum(waits), 1),
    }
    report("uneven", results, {"ideal": round(ideal / seconds, 3), "one_at_a_time": round(sum(waits) / seconds, 1)})


def _run(servers: str, waits: Sequence[float], folder: Path) -> float:
    """Seconds from the first message to the last committed reply."""
    events, application = fresh_name("uneven"), fresh_name("uneven-worker")
    create_topics(servers, {events: {}})
    settings = worker_settings(servers, events, application)
    create(AdminClient(admin_settings(settings)), [spec for spec in topic_table(settings) if spec.name != events])
    load(servers, events, len(waits), _CONVERSATIONS, [f"{wait:.4f}" for wait in waits])
    command = [sys.executable, str(CONTENDERS / "worker.py"), "--settings", settings.model_dump_json()]
    command += ["--kind", "scripted", "--folder", str(folder / application)]
    _, printed = run_contender(command, cut_off_s=120, done=len(waits))
    done = read_back(servers, settings.topics.replies)
    if done.count != len(waits):
        raise RuntimeError(f"{done.count} of {len(waits)} messages were answered")
    # The first reply comes after the shortest wait; the work began when the partitions were taken.
    started = float(printed.split("serving ", 1)[1].split()[0])
    return done.last - started


if __name__ == "__main__":
    main()
