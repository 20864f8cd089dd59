"""What is done to a run: each action says when it may happen, what it does, and what undoes it.

Actions are drawn from the seed; one that may not happen now is passed over. What an action starts it also ends: the
returned `Undo` is due after so many seconds.
"""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.crew import Member, damage, delete
from tests.chaos.switches import CRASHING, HANGING, Switch
from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Undo:
    after_s: float
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Action:
    """`weight` is how often it is drawn beside the others; `act` returns what was done, and what undoes it."""

    name: str
    weight: int
    may: Callable[[World], bool]
    act: Callable[[World, random.Random], tuple[dict[str, object], Undo | None]]


Done = tuple[dict[str, object], Undo | None]


def _someone(world: World, chance: random.Random) -> Member:
    return chance.choice(sorted(world.steady, key=lambda member: member.name))


def _kill(world: World, chance: random.Random) -> Done:
    member, away = _someone(world, chance), chance.choice([0.0, 0.0, 2.0, 9.0])
    member.due = world.now + away
    member.signal(signal.SIGKILL)
    return {"worker": member.name, "away_s": away}, None


def _terminate(world: World, chance: random.Random) -> Done:
    member = _someone(world, chance)
    member.signal(signal.SIGTERM)
    return {"worker": member.name}, None


def _zombie(world: World, chance: random.Random) -> Done:
    """Stands still beyond its session, then goes on as if nothing had been."""
    member = _someone(world, chance)
    seconds = world.settings.kafka.session_timeout_ms / 1000 + chance.uniform(1.0, 4.0)
    member.signal(signal.SIGSTOP)
    world.held.add(member.name)

    def go_on() -> None:
        world.held.discard(member.name)
        member.signal(signal.SIGCONT)

    return {"worker": member.name, "for_s": seconds}, Undo(seconds, go_on)


def _join_for_a_while(world: World, chance: random.Random) -> Done:
    """Partitions are revoked from the others, and given back."""
    name, seconds = world.add_guest(), chance.uniform(4.0, 10.0)
    return {"worker": name, "for_s": seconds}, Undo(seconds, lambda: world.crew.remove(name))


def _switched(switch: Switch, shortest: float, longest: float, values: tuple[int, ...] = (1,)) -> Action:
    def act(world: World, chance: random.Random) -> Done:
        member, seconds, value = _someone(world, chance), chance.uniform(shortest, longest), chance.choice(values)
        member.turn(switch, value)
        return {"worker": member.name, "for_s": seconds, "value": value}, Undo(seconds, lambda: member.turn(switch, 0))

    return Action(switch.value, 2, _has_someone, act)


def _kill_in_restore(world: World, chance: random.Random) -> Done:
    member = _someone(world, chance)
    delete(member.state)
    member.turn(Switch.DIES_IN_RESTORE, 1)
    member.signal(signal.SIGKILL)
    return {"worker": member.name}, Undo(20.0, lambda: member.turn(Switch.DIES_IN_RESTORE, 0))


def _lose_state(world: World, chance: random.Random) -> Done:
    member, damaged = _someone(world, chance), chance.random() < 0.5
    member.signal(signal.SIGKILL)
    assert member.process is not None
    member.process.wait()
    files = damage(member.state) if damaged else 0
    if not damaged:
        delete(member.state)
    return {"worker": member.name, "damaged_files": files}, None


def _poison(world: World, chance: random.Random) -> Done:
    """Good messages before and after it, in conversations of their own."""
    word = chance.choice([CRASHING, HANGING])
    world.say_soon("poison", f"please answer {word}")
    world.poisoned += 1
    return {"word": word}, None


def _broker_away(world: World, chance: random.Random) -> Done:
    killed, seconds = chance.random() < 0.3, chance.uniform(2.0, world.longest_broker_stop_s)
    world.stop_broker(killed=killed)
    return {"killed": killed, "for_s": seconds}, Undo(seconds, world.start_broker)


def _network(kind: str) -> Action:
    def act(world: World, chance: random.Random) -> Done:
        assert world.network is not None
        name, seconds = chance.choice(world.proxied), chance.uniform(2.0, 12.0)
        match kind:
            case "cut":
                world.network.cut(name)
            case "delay":
                world.network.delay(name, chance.choice([50, 300, 1_500]))
            case _:
                world.network.throttle(name, chance.choice([4, 32]))
        world.network_is_whole = False

        def heal() -> None:
            assert world.network is not None
            world.network.heal()
            world.network_is_whole = True

        return {"worker": name, "for_s": seconds}, Undo(seconds, heal)

    return Action(f"network_{kind}", 3, lambda world: world.network is not None and world.network_is_whole, act)


def _small_replies(world: World, chance: random.Random) -> Done:
    """The topic of replies takes hardly anything for a while: the broker refuses records."""
    seconds = chance.uniform(1.0, 3.0)
    world.limit_replies(200)
    return {"for_s": seconds}, Undo(seconds, world.readmit_replies)


def _forbidden_replies(world: World, chance: random.Random) -> Done:
    """Nobody may write to the topic of replies for a while."""
    seconds = chance.uniform(1.0, 3.0)
    world.forbid_replies()
    return {"for_s": seconds}, Undo(seconds, world.readmit_replies)


def _compact(world: World, chance: random.Random) -> Done:
    world.compact_hard()
    return {}, None


def _has_someone(world: World) -> bool:
    return world.broker_is_up and len(world.steady) >= 2


def _is_calm(world: World) -> bool:
    return _has_someone(world) and world.network_is_whole and not world.replies_are_refused


ACTIONS = (
    Action("kill", 10, _has_someone, _kill),
    Action("terminate", 4, _has_someone, _terminate),
    Action("zombie", 4, _has_someone, _zombie),
    Action("guest", 4, lambda world: world.broker_is_up and len(world.guests) < 2, _join_for_a_while),
    Action("kill_in_restore", 2, _has_someone, _kill_in_restore),
    Action("lose_state", 2, _has_someone, _lose_state),
    Action("poison", 2, lambda world: _is_calm(world) and world.poisoned < 2, _poison),
    Action("broker_away", 2, _is_calm, _broker_away),
    Action("small_replies", 1, _is_calm, _small_replies),
    Action("forbidden_replies", 1, _is_calm, _forbidden_replies),
    Action("compact_hard", 1, lambda world: world.broker_is_up and not world.is_compacted_hard, _compact),
    _network("cut"),
    _network("delay"),
    _network("throttle"),
    _switched(Switch.ENGINE_AWAY, 1.0, 8.0),
    _switched(Switch.ENGINE_HANGS, 1.0, 8.0),
    _switched(Switch.ENGINE_DIES, 1.0, 1.0),
    _switched(Switch.DISK_FULL, 1.0, 4.0),
    _switched(Switch.DIES_IN_COMMIT, 5.0, 5.0),
    _switched(Switch.CLOCK_MS, 2.0, 8.0, (-3_600_000, -5_000, 5_000, 3_600_000)),
)
