"""quix-streams, exactly once, with a state and its changelog: the same reply, and a count per conversation."""

import argparse
import sys
import time

from quixstreams import Application, State


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("--servers", "--input", "--output", "--folder"):
        options.add_argument(name, required=True)
    options.add_argument("--count", type=int, required=True)
    given = options.parse_args()
    app = Application(
        broker_address=given.servers,
        consumer_group=given.output,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=0.1,
        state_dir=given.folder,
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 500_000},
        loglevel="ERROR",
    )
    events = app.topic(given.input, value_deserializer="json")
    replies = app.topic(given.output, value_serializer="json")
    seen = 0

    def answer(event: dict[str, str], state: State) -> dict[str, str]:
        nonlocal seen
        if not seen:
            print(f"first {time.time()}", flush=True)
        seen += 1
        state.set("turns", state.get("turns", 0) + 1)
        if seen == given.count:
            print("done", flush=True)
        return {"conversation_id": event["conversation_id"], "in_reply_to": event["message_id"], "text": "Hello."}

    frame = app.dataframe(events)
    frame = frame.apply(answer, stateful=True)
    frame.to_topic(replies)
    app.run()
    sys.exit(0)


main()
