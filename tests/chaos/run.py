"""Chaos: real workers on a real broker, faults drawn from a seed, and an independent check of what came out.

    python -m tests.chaos.run --seed 1 --events 3000 --minutes 3

Everything that was done is written to `history.jsonl` in the run's folder, which is kept when a violation is found.
The same seed draws the same faults; what they hit is the machine's timing.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka.admin import AdminClient

from stream_worker.embedded.broker import EmbeddedBroker, free_port
from stream_worker.embedded.configuration import Listener
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import Creation, create
from stream_worker.kafka.topics import Role, topic_table
from stream_worker.settings import Settings
from tests.chaos.actions import ACTIONS, Undo
from tests.chaos.crew import Crew
from tests.chaos.gaps import Gap, longest_by_fault, worst
from tests.chaos.history import History, read_history
from tests.chaos.network import Network, find_toxiproxy
from tests.chaos.traffic import traffic
from tests.chaos.world import World
from tests.eventually import eventually
from tests.kafka.sabotage import Bug
from tests.kafka.topic_log import Counted
from tests.kafka.topic_reader import TopicReader

_PARTITIONS = 8
_WORKERS = ("w-0", "w-1", "w-2")
#: A lone node whose session ends, as the machine stalls, forgets the markers of transactions: with others beside it, it
#: would not.
_A_PATIENT_CONTROLLER = {"broker.session.timeout.ms": "15000"}
_ALLOWS_WHAT_IS_NOT_FORBIDDEN = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
_PROXIED = ("w-1", "w-2")
_CHECK_S = 1_800.0
"""A hang guard: a million events take some minutes."""
_GOOD_ENDS = {0, -signal.SIGTERM}
"""One that was still starting has nothing to give back, and ends as any process does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    events: int
    minutes: float
    chatlogs: Path
    folder: Path
    is_kept: bool = False
    protocols: Sequence[str] = ("classic",)
    """Of the group, one after the other, each as long as the others."""
    only: frozenset[str] = frozenset()
    bug: Bug | None = None
    every_s: float = 3.0
    """How long lies between two faults, on average."""
    settles_s: float = 300.0
    """How long after all was healed every event must have its outcome."""


def main() -> None:
    plan = _plan()
    print(f"seed {plan.seed}, {plan.events} events, {plan.minutes} minutes, in {plan.folder}", flush=True)
    report = chaos(plan)
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    if report["violation"] is not None:
        print(f"Violation found; the history is {plan.folder / 'history.jsonl'}", file=sys.stderr)
        sys.exit(1)
    if not plan.is_kept:
        shutil.rmtree(plan.folder, ignore_errors=True)


def chaos(plan: Plan) -> dict[str, Any]:
    """One run; its report."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        history = stack.enter_context(History(plan.folder / "history.jsonl"))
        history.note("plan", seed=plan.seed, events=plan.events, minutes=plan.minutes, bug=plan.bug)
        world = _world(plan, history, stack)
        for name in _WORKERS:
            world.crew.add(name, _servers(world, name))
        with closing(TopicReader(world.settings)) as reader:
            eventually(lambda: len(reader.ledgers) == _PARTITIONS, 120.0)
        _stir(plan, world, history)
        with closing(Counted(world.settings, Role.METRICS)) as outcomes:
            violation = _settled(world, outcomes, history, plan.settles_s)
        codes = world.crew.end()
        history.note("exit codes", codes=codes)
        if violation is None and not set(codes.values()) <= _GOOD_ENDS:
            violation = f"workers ended with {codes} when asked to"
        verdict = _check(world, plan)
        if violation is not None:
            verdict["violation"] = f"{verdict['violation'] or ''} {violation}".strip()
    if "checked" in verdict:
        found = [Gap(*each) for each in verdict["checked"].pop("gaps")]
        entries = read_history(plan.folder / "history.jsonl")
        faults = [(entry["wall_ms"], entry["action"]) for entry in entries if entry["what"] == "action"]
        verdict["longest_gap_s"] = longest_by_fault(found, faults)
        verdict["worst_gaps"] = worst(found, faults, entries[0]["wall_ms"])
    return {"seed": plan.seed, "bug": plan.bug} | _figures(plan) | verdict


def _world(plan: Plan, history: History, stack: ExitStack) -> World:
    binary = find_toxiproxy()
    port = free_port()
    behind, front = {name: free_port() for name in _PROXIED}, {name: free_port() for name in _PROXIED}
    listeners = [Listener(name.replace("-", "").upper(), behind[name], front[name]) for name in _PROXIED]
    properties = _A_PATIENT_CONTROLLER | _ALLOWS_WHAT_IS_NOT_FORBIDDEN
    broker = EmbeddedBroker(plan.folder / "broker", port, listeners=listeners if binary else (), properties=properties)
    stack.enter_context(broker)
    network = None
    if binary is not None:
        network = stack.enter_context(Network(binary, plan.folder, free_port()))
        for name in _PROXIED:
            network.connect(name, front[name], behind[name])
    else:
        history.note("no toxiproxy: a run without faults of the network")
        print("No toxiproxy-server, and no Go to build it with: a run without faults of the network", flush=True)
    settings = _settings(plan, broker.bootstrap_servers)
    reports = create(AdminClient(admin_settings(settings)), topic_table(settings))
    assert {report.result for report in reports} == {Creation.CREATED}, reports
    crew = Crew(settings, plan.folder, history, plan.bug)
    stack.callback(crew.kill)
    return World(
        settings=settings,
        broker=broker,
        crew=crew,
        network=network,
        proxied=list(_PROXIED) if network else [],
        longest_broker_stop_s=min(60.0, plan.minutes * 7.5),
        front={name: f"127.0.0.1:{number}" for name, number in front.items()} if network else {},
    )


def _settings(plan: Plan, servers: str) -> Settings:
    return Settings.model_validate(
        {
            "application_id": "chaos",
            "kafka": {
                "bootstrap_servers": servers,
                "start_at": "earliest",
                "group_protocol": plan.protocols[0],
                "max_poll_interval_ms": 30_000,
            },
            "topics": {"partitions": _PARTITIONS, "replication_factor": 1, "min_insync_replicas": 1},
            "admission": {"max_running_turns": 32, "retry_backoff_ms": 100, "max_waiting_events": 10_000},
            "drain_timeout_s": 5,
        }
    )


def _servers(world: World, name: str) -> str:
    return world.front.get(name, world.broker.bootstrap_servers)


def _stir(plan: Plan, world: World, history: History) -> None:
    """Messages are written at their times, and meanwhile things go wrong."""
    chance = random.Random(plan.seed)
    waiting = traffic(plan.chatlogs, plan.seed, plan.events, plan.minutes * 60)
    changes = _changes(plan)
    undos: list[tuple[float, Undo]] = []
    started, due, place = time.monotonic(), plan.every_s, 0
    while (now := time.monotonic() - started) < plan.minutes * 60 or place < len(waiting):
        while place < len(waiting) and waiting[place].at_s <= now:
            world.say(waiting[place])
            place += 1
        for when, undo in [each for each in undos if each[0] <= now]:
            undos.remove((when, undo))
            undo.do()
        if changes and now >= changes[0][0]:
            _heal(world, undos)
            world.crew.change_protocol(changes.popleft()[1])
        if now >= due:
            due = now + chance.uniform(0.3, 1.7) * plan.every_s
            if (undone := _act(plan, world, chance, history)) is not None:
                undos.append((now + undone.after_s, undone))
        world.crew.tend()
        # The pace of those who write is a part of what is tried here.
        time.sleep(0.02)
    _heal(world, undos)
    history.note("healed", sent=world.flush())


def _changes(plan: Plan) -> deque[tuple[float, str]]:
    """When which protocol follows the one before, in seconds from the start."""
    each_s = plan.minutes * 60 / len(plan.protocols)
    return deque((number * each_s, protocol) for number, protocol in enumerate(plan.protocols) if number)


def _heal(world: World, undos: list[tuple[float, Undo]]) -> None:
    for _, undo in undos:
        undo.do()
    undos.clear()
    world.heal()


def _act(plan: Plan, world: World, chance: random.Random, history: History) -> Undo | None:
    actions = [action for action in ACTIONS if not plan.only or action.name in plan.only]
    action = chance.choices(actions, [action.weight for action in actions])[0]
    if not action.may(world):
        return None
    done, undo = action.act(world, chance)
    history.note("action", action=action.name, **done)
    return undo


def _settled(world: World, outcomes: Counted, history: History, seconds: float) -> str | None:
    """Waits until every event has an outcome; what is wrong where that never comes."""
    sent = world.flush()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        world.crew.tend()
        if (settled := outcomes.so_far()) >= sent:
            history.note("settled", events=sent)
            return None
    world.crew.show_stacks()
    return f"{sent - settled} of {sent} events have no outcome {seconds:.0f} s after all was healed"


def _check(world: World, plan: Plan) -> dict[str, Any]:
    file = plan.folder / "settings.json"
    file.write_bytes(orjson.dumps(world.settings.model_dump(mode="json", exclude_defaults=True)))
    command = [sys.executable, "-m", "tests.chaos.check", world.broker.bootstrap_servers, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_S, check=False)
    if done.returncode == 0:
        return {"violation": None, "checked": orjson.loads(done.stdout)}
    return {"violation": done.stdout[:4_000] + done.stderr[-1_000:]}


def _figures(plan: Plan) -> dict[str, Any]:
    """What was done, by kind, and how the workers fared."""
    entries = read_history(plan.folder / "history.jsonl")
    actions = Counter(entry["action"] for entry in entries if entry["what"] == "action")
    ends = Counter(str(entry["code"]) for entry in entries if entry["what"] == "ended")
    aborts = sum(log.read_text(errors="replace").count('"event":"transaction aborted"') for log in _logs(plan))
    starts = sum(entry["what"] == "started" for entry in entries)
    replaced = sum(log.read_text(errors="replace").count('"event":"clients replaced"') for log in _logs(plan))
    done = {"actions": dict(actions), "ended_with": dict(ends), "starts": starts}
    return done | {"clients_replaced": replaced, "aborts": aborts}


def _logs(plan: Plan) -> list[Path]:
    return sorted(plan.folder.glob("*/log"))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--chatlogs", type=Path, default=Path("../shared/data/chatlogs"), help="drawn bursts without")
    parser.add_argument(
        "--protocol", nargs="+", choices=("classic", "consumer"), default=["classic"], help="one after the other"
    )
    parser.add_argument("--only", nargs="*", default=[], choices=[action.name for action in ACTIONS])
    parser.add_argument("--bug", type=Bug, default=None, choices=list(Bug), help="a planted bug, which must be found")
    parser.add_argument("--folder", type=Path, default=None, help="where everything is kept; a temporary one without")
    parsed = parser.parse_args()
    return Plan(
        seed=parsed.seed,
        events=parsed.events,
        minutes=parsed.minutes,
        every_s=parsed.every,
        chatlogs=parsed.chatlogs,
        protocols=parsed.protocol,
        only=frozenset(parsed.only),
        bug=parsed.bug,
        is_kept=parsed.folder is not None,
        folder=parsed.folder or Path(tempfile.mkdtemp(prefix="chaos-")),
    )


if __name__ == "__main__":
    main()
