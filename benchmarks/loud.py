"""What does one conversation that sends 10,000 messages at once cost the others?

200 conversations write 25 messages a second, each answered in 0.1 s by an engine with room for 64. For half of the time
they are alone; then another conversation of the same partition as some of them sends 10,000 messages. How long do the
others wait for their replies, from the broker's stamp on the message to that on the reply?

`ratios`: their waits alone over their waits beside it; 1 is no difference.
"""

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from echo import worker_settings
from harness import broker, create_topics, fresh_name, parser, report
from overload import read_all, serving_worker, wait_until_settled

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings

_CONVERSATIONS, _A_SECOND, _TURN_S = 200, 25, 0.1


class _Writer:
    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "linger.ms": 2,
                "partitioner": "murmur2_random",
            }
        )
        self._topic = settings.topics.events
        self._order = random.Random(1)
        self.sent = 0

    def say(self, conversation: str, message: str) -> None:
        event = {
            "conversation_id": conversation,
            "message_id": message,
            "sender": {"id": f"u-{conversation}"},
            "text": str(_TURN_S),
        }
        self.sent += 1
        self._producer.produce(self._topic, orjson.dumps(event), conversation)

    def probe(self, name: str, seconds: float) -> None:
        """Messages of all conversations, in an order of chance, for so long."""
        started, sent = time.monotonic(), 0
        while (passed := time.monotonic() - started) < seconds:
            while sent < passed * _A_SECOND:
                self.say(f"c-{self._order.randrange(_CONVERSATIONS)}", f"{name}-{sent}")
                sent += 1
            self._producer.poll(0.005)
        self._producer.flush(10)


def _waits(settings: Settings) -> dict[str, list[float]]:
    """Milliseconds from each probe to its reply, by the part of the run it belongs to."""
    events = read_all(settings, settings.topics.events).values()
    asked = {orjson.loads(value)["message_id"]: at for at, value in events}
    waits: dict[str, list[float]] = {"alone": [], "beside": []}
    for at, value in read_all(settings, settings.output_topic(settings.topics.replies)).values():
        for message in orjson.loads(value)["in_reply_to"]:
            if (part := message.split("-")[0]) in waits:
                waits[part].append(1_000 * (at - asked[message]))
    return waits


def _outcomes(settings: Settings) -> dict[str, dict[str, int]]:
    """Of the loud one's messages, and of everybody else's."""
    counts: dict[str, dict[str, int]] = {"loud": {}, "others": {}}
    for _, value in read_all(settings, settings.output_topic(settings.topics.metrics)).values():
        metric = orjson.loads(value)
        of = counts["loud" if metric["conversation_id"] == "loud" else "others"]
        of[metric["outcome"]] = of.get(metric["outcome"], 0) + 1
    return counts


def _percentiles(values: list[float]) -> dict[str, int]:
    ranked = sorted(values)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ranked[min(len(ranked) - 1, int(share * len(ranked)))]) for name, share in shares.items()} | {
        "count": len(ranked)
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--messages", type=int, default=10_000, help="of the loud conversation")
    options.add_argument("--seconds", type=float, default=30.0, help="of each half")
    given = options.parse_args()
    with broker() as servers, TemporaryDirectory() as folder:
        events, application = fresh_name("loud"), fresh_name("loud-worker")
        create_topics(servers, {events: {}})
        settings = worker_settings(servers, events, application)
        create(AdminClient(admin_settings(settings)), [spec for spec in topic_table(settings) if spec.name != events])
        writer = _Writer(settings)
        with serving_worker(settings, Path(folder)):
            writer.probe("warm", 3.0)
            writer.probe("alone", given.seconds)
            for number in range(given.messages):
                writer.say("loud", f"loud-{number}")
            writer.probe("beside", given.seconds)
            wait_until_settled(settings, writer.sent, 60)
        waits = {name: _percentiles(each) for name, each in _waits(settings).items()}
        outcomes = _outcomes(settings)
    alone, beside = waits["alone"], waits["beside"]
    results = {"waits_ms": waits, "outcomes": outcomes}
    report("loud", results, {name: round(alone[name] / beside[name], 2) for name in ("p50", "p99")})


if __name__ == "__main__":
    main()
