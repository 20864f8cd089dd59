"""Recorded task dialogues of three public sets as one shape: what was said, meant, asked, offered and known.

MultiWOZ 2.1 and SGD in English, CrossWOZ in Chinese. An intent is a task (`hotel`, `Restaurants_2/FindRestaurants`); a
slot is named after what it belongs to (`hotel/area`), so that no two tasks share one by chance.
"""

import json
import lzma
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DONT_CARE = "dontcare"


@dataclass(frozen=True, slots=True)
class Meant:
    """A value that the user gives in a message; `start` and `end` where the message has it word for word."""

    slot: str
    value: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTurn:
    """`asked` and `offered` are what the other side said right before: slots it wants, and values it names."""

    text: str
    intents: tuple[str, ...]
    meant: tuple[Meant, ...]
    asked: tuple[str, ...] = ()
    offered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    goal: Mapping[str, frozenset[str]]
    """What the user is known to want after it: any of the values of each slot counts."""
    judged: frozenset[str]
    """The tasks whose slots `goal` speaks of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A set. `tasks` are the slots of each intent; `services`: whether several intents of one owner share theirs."""

    name: str
    language: str
    services: bool = False
    tasks: Mapping[str, tuple[str, ...]]
    dialogues: tuple[tuple[UserTurn, ...], ...]


def plain(value: str) -> str:
    """A value without what the sets write in several ways."""
    text = value.casefold().strip().removeprefix("the ")
    text = re.sub(r"\s*([:,.'’-])\s*", r"\1", text)
    if text in ("do n't care", "dont care", "don't care", "dontcare", "do nt care", "any"):
        return DONT_CARE
    return {"true": "yes", "false": "no", "centre of town": "centre"}.get(text, text)


def owner(slot: str) -> str:
    """The task, or the service of several, that a slot belongs to."""
    return slot.partition("/")[0]


def _found(slot: str, value: str, text: str, taken: list[tuple[int, int]]) -> Meant:
    """The value with its place in the text, if it stands there and no other value has the place."""
    edge = r"(?<!\w)", r"(?!\w)"
    pattern = re.escape(value) if re.search(r"[\u3400-\u9fff]", value) else re.escape(value).join(edge)
    for match in re.finditer(pattern, text, re.IGNORECASE):
        if all(match.end() <= start or match.start() >= end for start, end in taken):
            taken.append(match.span())
            return Meant(slot, match[0], *match.span())
    return Meant(slot, value)


def _placed(values: list[tuple[str, str]], text: str) -> tuple[Meant, ...]:
    taken: list[tuple[int, int]] = []
    return tuple(_found(slot, value, text, taken) for slot, value in values)


def _zipped(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("val.json"))


# MultiWOZ 2.1

_MULTIWOZ_SLOTS = {
    "Area": "area",
    "Stars": "stars",
    "Price": "pricerange",
    "Dest": "destination",
    "Depart": "departure",
    "Leave": "leaveAt",
    "Arrive": "arriveBy",
    "People": "people",
    "Day": "day",
    "Stay": "stay",
    "Time": "time",
    "Name": "name",
    "Type": "type",
    "Parking": "parking",
    "Internet": "internet",
    "Food": "food",
}
_MULTIWOZ_TASKS = {
    "hotel": ("name", "area", "parking", "pricerange", "stars", "internet", "type", "people", "day", "stay"),
    "restaurant": ("food", "pricerange", "name", "area", "people", "day", "time"),
    "attraction": ("type", "name", "area"),
    "train": ("leaveAt", "destination", "day", "arriveBy", "departure", "people"),
    "taxi": ("leaveAt", "destination", "departure", "arriveBy"),
}


def multiwoz(folder: Path) -> Recorded:
    tasks = {name: tuple(f"{name}/{slot}" for slot in slots) for name, slots in _MULTIWOZ_TASKS.items()}
    dialogues = [
        tuple(_multiwoz_turns(dialogue["log"], tasks))
        for _, dialogue in sorted(_zipped(folder / "multiwoz21" / "val.json.zip").items())
    ]
    return Recorded(name="MultiWOZ 2.1", language="en", tasks=tasks, dialogues=tuple(dialogues))


def _multiwoz_turns(log: list[dict[str, Any]], tasks: Mapping[str, tuple[str, ...]]) -> Iterator[UserTurn]:
    spoken_of = ""
    acts_before: list[tuple[str, str, str, str]] = []
    for user, system in zip(log[::2], log[1::2], strict=False):
        acts = list(_multiwoz_acts(user, spoken_of))
        said = [(f"{task}/{slot}", value) for task, act, slot, value in acts if act == "Inform" and value != "?"]
        said = [(slot, value) for slot, value in said if slot in tasks.get(owner(slot), ())]
        intents = tuple(dict.fromkeys(task for task, *_ in acts if task in tasks))
        spoken_of = intents[0] if intents else spoken_of
        offered: dict[str, tuple[str, ...]] = {}
        for task, _, slot, value in acts_before:
            # Of what the assistant tells, the places by name are what it offers.
            if slot == "name" and value not in ("?", "none"):
                offered[f"{task}/{slot}"] = (*offered.get(f"{task}/{slot}", ()), value)
        yield UserTurn(
            text=user["text"],
            intents=intents,
            meant=_placed(said, user["text"]),
            asked=tuple(f"{task}/{slot}" for task, act, slot, _ in acts_before if act == "Request"),
            offered={slot: values for slot, values in offered.items() if slot in tasks.get(owner(slot), ())},
            goal=_multiwoz_goal(system["metadata"], tasks),
            judged=frozenset(tasks),
        )
        acts_before = list(_multiwoz_acts(system, spoken_of))


def _multiwoz_acts(turn: Mapping[str, Any], spoken_of: str) -> Iterator[tuple[str, str, str, str]]:
    for name, pairs in turn["dialog_act"].items():
        task, _, act = name.partition("-")
        # The other side's `Booking` is one of what was spoken of.
        task = spoken_of if task == "Booking" else task.casefold()
        yield from ((task, act, _MULTIWOZ_SLOTS.get(slot, slot), value) for slot, value in pairs)


def _multiwoz_goal(metadata: Mapping[str, Any], tasks: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    goal = {}
    for task, parts in metadata.items():
        for slot, value in {**parts["semi"], **parts["book"]}.items():
            name = f"{task}/{slot}"
            if name in tasks.get(task, ()) and value and value not in ("not mentioned", "none"):
                goal[name] = frozenset(plain(each) for each in re.split(r"[|>]", value))
    return goal


# Schema-Guided Dialogue


def schema_guided(folder: Path) -> Recorded:
    tasks: dict[str, tuple[str, ...]] = {}
    booked: set[str] = set()
    for service in json.loads((folder / "sgd" / "dev" / "schema.json").read_text(encoding="utf-8")):
        name = service["service_name"]
        # What one intent finds is what another one books: each has the slots of all.
        slots = [slot for each in service["intents"] for slot in (*each["required_slots"], *each["optional_slots"])]
        for intent in service["intents"]:
            tasks[f"{name}/{intent['name']}"] = tuple(dict.fromkeys(f"{name}/{slot}" for slot in slots))
            if intent["is_transactional"] or not any(each["is_transactional"] for each in service["intents"]):
                booked |= {f"{name}/{slot}" for slot in (*intent["required_slots"], *intent["optional_slots"])}
    dialogues: list[tuple[UserTurn, ...]] = []
    for file in sorted((folder / "sgd" / "dev").glob("dialogues_*.json.xz")):
        with lzma.open(file, "rt", encoding="utf-8") as content:
            dialogues += [tuple(_schema_turns(dialogue["turns"], tasks, booked)) for dialogue in json.load(content)]
    return Recorded(name="SGD", language="en", services=True, tasks=tasks, dialogues=tuple(dialogues))


def _schema_turns(
    turns: list[dict[str, Any]], tasks: Mapping[str, tuple[str, ...]], booked: set[str]
) -> Iterator[UserTurn]:
    """`booked` are the slots that matter for what is bought or booked in the end: values for them are offers."""
    known = {slot for slots in tasks.values() for slot in slots}
    asked: tuple[str, ...] = ()
    offered: dict[str, tuple[str, ...]] = {}
    for turn in turns:
        acts = [(frame["service"], act) for frame in turn["frames"] for act in frame["actions"]]
        values = [
            (f"{service}/{act['slot']}", value) for service, act in acts for value in act["values"][:1] if act["slot"]
        ]
        values = [(slot, value) for slot, value in values if slot in known]
        if turn["speaker"] == "SYSTEM":
            asked = tuple(f"{service}/{act['slot']}" for service, act in acts if act["act"] == "REQUEST")
            proposed = {f"{service}/{act['slot']}" for service, act in acts if act["act"] in ("OFFER", "CONFIRM")}
            offered = {}
            for slot, value in values:
                if slot in proposed and slot in booked:
                    offered[slot] = (*offered.get(slot, ()), value)
            continue
        active = [f"{frame['service']}/{frame['state']['active_intent']}" for frame in turn["frames"]]
        said = {(f"{service}/{act['slot']}") for service, act in acts if act["act"] == "INFORM"}
        yield UserTurn(
            text=turn["utterance"],
            intents=tuple(name for name in active if name in tasks),
            meant=_placed([(slot, value) for slot, value in values if slot in said], turn["utterance"]),
            asked=tuple(slot for slot in asked if slot in known),
            offered=offered,
            goal={
                f"{frame['service']}/{slot}": frozenset(map(plain, several))
                for frame in turn["frames"]
                for slot, several in frame["state"]["slot_values"].items()
                if f"{frame['service']}/{slot}" in known
            },
            judged=frozenset(frame["service"] for frame in turn["frames"]),
        )


# CrossWOZ


def crosswoz(folder: Path) -> Recorded:
    raw = [dialogue["messages"] for _, dialogue in sorted(_zipped(folder / "crosswoz_zh" / "val.json.zip").items())]
    slots: dict[str, dict[str, None]] = {}
    for messages in raw:
        for message in messages:
            for task, values in message.get("sys_state_init", {}).items():
                slots.setdefault(task, {}).update(dict.fromkeys(slot for slot in values if slot != "selectedResults"))
    tasks = {task: tuple(f"{task}/{slot}" for slot in names) for task, names in slots.items()}
    dialogues = tuple(tuple(_crosswoz_turns(messages, tasks)) for messages in raw)
    return Recorded(name="CrossWOZ", language="zh", tasks=tasks, dialogues=dialogues)


def _crosswoz_turns(messages: list[dict[str, Any]], tasks: Mapping[str, tuple[str, ...]]) -> Iterator[UserTurn]:
    before: list[list[str]] = []
    for user, system in zip(messages[::2], messages[1::2], strict=False):
        said = dict(_crosswoz_values(user["dialog_act"]))
        said = {slot: value for slot, value in said.items() if slot in tasks[owner(slot)]}
        intents = [act[1] for act in user["dialog_act"] if act[1] in tasks]
        yield UserTurn(
            text=user["content"],
            intents=tuple(dict.fromkeys(intents)),
            meant=_placed(list(said.items()), user["content"]),
            asked=tuple(f"{task}/{slot}" for act, task, slot, _ in before if act == "Request" and task in tasks),
            goal={
                f"{task}/{slot}": frozenset((plain(value),))
                for task, values in system["sys_state_init"].items()
                for slot, value in values.items()
                if value and slot != "selectedResults"
            },
            judged=frozenset(tasks),
        )
        before = system["dialog_act"]


def _crosswoz_values(acts: list[list[str]]) -> Iterator[tuple[str, str]]:
    """Facilities are told one by one (`酒店设施-健身房: 是`) and known as one slot of their names."""
    facilities: dict[str, list[str]] = {}
    for act, task, slot, value in acts:
        if act != "Inform" or value in ("none", ""):
            continue
        if "-" in slot:
            name, _, facility = slot.partition("-")
            facilities.setdefault(f"{task}/{name}", []).extend([facility] if value == "是" else [])
        else:
            yield f"{task}/{slot}", value
    yield from ((slot, " ".join(names)) for slot, names in facilities.items() if names)


SETS: dict[str, Callable[[Path], Recorded]] = {"multiwoz": multiwoz, "sgd": schema_guided, "crosswoz": crosswoz}
