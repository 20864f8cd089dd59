"""How many messages a second pass through everything but a model?

Ours with its ledger, state, changelog, reply and metric per message, on the path that real turns take, with a bot that
answers by template and no encoder; against quix-streams with exactly-once and a state, and against a bare
confluent-kafka loop that has neither ledger nor state. Same input, same run, each cut off.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from harness import broker, create_topics, fresh_name, load, parser, peer_python, read_back, report, run_contender

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings

CONTENDERS = Path(__file__).parent / "contenders"
_CONVERSATIONS = 1_000


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--cut-off", type=float, default=15.0, help="seconds from a contender's first message")
    given = options.parse_args()
    with broker() as servers, TemporaryDirectory() as folder:
        events = fresh_name("echo")
        create_topics(servers, {events: {}})
        load(servers, events, given.events, _CONVERSATIONS)
        rates = {}
        for name in ("bare_loop", "stream_worker", "quixstreams"):
            output, command = _contender(name, servers, events, Path(folder))
            first, printed = run_contender(command, cut_off_s=given.cut_off, done=given.events)
            done = read_back(servers, output)
            rates[name] = {
                "messages": done.count,
                "seconds": round(done.last - first, 2),
                "per_second": round(done.count / (done.last - first)),
            }
            print(f"{name}: {rates[name]}", file=sys.stderr)
            if name == "stream_worker":
                steps = _steps(printed, rates[name]["per_second"])
    ours = rates["stream_worker"]["per_second"]
    report(
        "echo",
        rates | {"microseconds_a_message_by_step": steps},
        {peer: round(ours / rates[peer]["per_second"], 3) for peer in ("quixstreams", "bare_loop")},
    )


def _steps(printed: str, per_second: float) -> dict[str, float]:
    """Microseconds of a message by step, from the shares that our contender prints at its end."""
    shares: dict[str, float] = orjson.loads(printed.split("steps ", 1)[1].splitlines()[0])
    return {step: round(share / per_second * 1e6, 1) for step, share in shares.items()}


def _contender(name: str, servers: str, events: str, folder: Path) -> tuple[str, list[str]]:
    """The topic its replies go to, and how it is started."""
    output = fresh_name(name)
    if name == "stream_worker":
        settings = worker_settings(servers, events, output)
        from confluent_kafka.admin import AdminClient

        create(AdminClient(admin_settings(settings)), [spec for spec in topic_table(settings) if spec.name != events])
        command = [sys.executable, str(CONTENDERS / "worker.py"), "--settings", settings.model_dump_json()]
        return settings.topics.replies, [*command, "--kind", "template", "--folder", str(folder / output)]
    create_topics(servers, {output: {}})
    python = peer_python("quix", "quixstreams") if name == "quixstreams" else sys.executable
    script = "quix.py" if name == "quixstreams" else "bare_loop.py"
    command = [python, str(CONTENDERS / script), "--servers", servers, "--input", events, "--output", output]
    return output, [*command, "--folder", str(folder / output)] if name == "quixstreams" else command


def worker_settings(servers: str, events: str, application: str) -> Settings:
    return Settings.model_validate(
        {
            "application_id": application,
            "instance": "0",
            "kafka": {"bootstrap_servers": servers, "start_at": "earliest"},
            "topics": {
                "events": events,
                "replies": f"{application}-replies",
                "deltas": f"{application}-deltas",
                "analysis": f"{application}-analysis",
                "actions": f"{application}-actions",
                "metrics": f"{application}-metrics",
                "dead_letters": f"{application}-dead-letters",
                "partitions": 8,
                "replication_factor": 1,
                "min_insync_replicas": 1,
            },
        }
    )


if __name__ == "__main__":
    main()
