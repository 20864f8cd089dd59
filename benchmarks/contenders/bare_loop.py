"""A bare confluent-kafka loop, exactly once: consume, parse, produce, offsets, commit every 100 ms. No state."""

import argparse
import time

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("--servers", "--input", "--output"):
        options.add_argument(name, required=True)
    options.add_argument("--count", type=int, required=True)
    given = options.parse_args()
    consumer = Consumer(
        {
            "bootstrap.servers": given.servers,
            "group.id": given.output,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": given.servers,
            "transactional.id": given.output,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.init_transactions(30)
    consumer.subscribe([given.input])
    seen, due, is_open = 0, 0.0, False
    positions: dict[int, int] = {}
    while True:
        for message in consumer.consume(2_000, 0.02):
            value, partition, offset = message.value(), message.partition(), message.offset()
            if message.error() is not None or value is None or partition is None or offset is None:
                continue
            if not is_open:
                producer.begin_transaction()
                is_open, due = True, time.monotonic() + 0.1
            if not seen:
                print(f"first {time.time()}", flush=True)
            seen += 1
            event = orjson.loads(value)
            reply = {"conversation_id": event["conversation_id"], "in_reply_to": event["message_id"], "text": "Hello."}
            producer.produce(given.output, orjson.dumps(reply), message.key())
            positions[partition] = offset + 1
        if is_open and time.monotonic() >= due:
            offsets = [TopicPartition(given.input, partition, offset) for partition, offset in positions.items()]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
            producer.commit_transaction()
            is_open = False
            if seen >= given.count:
                print("done", flush=True)
                return


main()
