"""Which command prints what: from here come the schemas, the reference page, and the test over real output."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from stream_worker.cli.outputs import conversations, group, machine, understanding
from stream_worker.contracts.json_schema import DIALECT, Schema, dataclasses_in, describe_fields
from stream_worker.kafka.placement import PartitionShare, Repartitioned
from stream_worker.kafka.topic_admin import CreationReport
from stream_worker.kafka.topic_check import Finding


@dataclass(frozen=True, slots=True)
class Output:
    """With `-o json` a command prints one `document`, with `-o jsonl` a `line` for each of what it found.

    Without a document of its own it prints the list of its lines.
    """

    command: str
    line: type
    document: type | None = None

    @property
    def name(self) -> str:
        """The schema's file without its ending."""
        return self.command.replace(" ", "-")


OUTPUTS = (
    Output("send", group.SentEvent, group.SentEvent),
    Output("topics create", CreationReport),
    Output("topics check", Finding),
    Output("topics repartition", PartitionShare, Repartitioned),
    Output("topics acls", group.NeededRight),
    Output("config check", machine.CheckedPart),
    Output("config show", machine.SettingValue),
    Output("nlu evaluate", understanding.Score, understanding.EvaluationFigures),
    Output("nlu explain", understanding.DecisionExplained, understanding.TextExplained),
    Output("nlu parse", understanding.UnderstoodText),
    Output("nlu validate", understanding.ExampleFinding),
    Output("health", machine.ProbeCheck, machine.ProbeAnswer),
    Output("doctor", machine.DoctorFinding, machine.DoctorReport),
    Output("status", group.PartitionPlace, group.GroupOverview),
    Output("lag", group.PartitionLag, group.GroupLag),
    Output("tail", group.PublishedRecord),
    Output("conversation show", conversations.ConversationShown, conversations.ConversationShown),
    Output("conversation explain", conversations.TurnExplained),
    Output("dlq list", group.LetterRow),
    Output("dlq show", group.LetterShown, group.LetterShown),
    Output("dlq redrive", group.LetterRow),
    Output("dlq drop", group.LetterRow),
    Output("schemas", machine.SchemaFinding),
    Output("version", machine.InstalledVersion),
)


def output_schemas() -> dict[str, Schema]:
    """The schema of every command's document, by the name of its file; `$defs/line` describes a line."""
    return {output.name: output_schema(output) for output in OUTPUTS}


def output_schema(output: Output) -> Schema:
    document: Any = output.document or list[output.line]  # type: ignore[name-defined]  # a value, not an annotation
    adapters, definitions = TypeAdapter.json_schemas(
        [("document", "serialization", TypeAdapter(document)), ("line", "serialization", TypeAdapter(output.line))]
    )
    nodes: dict[str, Schema] = definitions.get("$defs", {})
    found = {name: schema for (name, _), schema in adapters.items()}
    described = {each.__name__: each for each in _all_types(output)}
    for name, node in nodes.items():
        if "properties" in node:
            describe_fields(node, described[name], all_required=True)
    return {
        "$schema": DIALECT,
        "title": f"What `stream-worker {output.command} -o json` prints",
        "$ref": "#/$defs/document",
        "$defs": {**found, **nodes},
    }


def _all_types(output: Output) -> Iterator[type]:
    yield from dataclasses_in(output.line)
    if output.document is not None:
        yield from dataclasses_in(output.document)
