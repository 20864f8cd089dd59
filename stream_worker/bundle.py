"""A bundle for whoever helps: what the installation is, how it stands, what it last said. No secret, no text."""

import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import orjson

from stream_worker.cli.probes import ask
from stream_worker.errors import StreamWorkerError
from stream_worker.observability.logs import drop_content
from stream_worker.settings import Settings
from stream_worker.settings.loader import MASK, Resolved, settings_hash

_LOG_LINES = 1_000
_SHORTEST_SECRET = 4


def write_bundle(resolved: Resolved, target: Path, log: Path | None, worker: str) -> list[str]:
    """Writes the file and returns the names of what is in it. What cannot be had says so in its place."""
    settings = resolved.settings
    contents: dict[str, Callable[[], bytes]] = {
        "settings.json": lambda: _json({"hash": settings_hash(settings), "settings": resolved.masked()}),
        "sources.json": lambda: _json({name: str(source) for name, _, source in resolved.values()}),
        "versions.json": lambda: _json({each.name: each.version for each in distributions()}),
        "doctor.json": lambda: _doctor(settings),
        "group.json": lambda: _group(settings),
        "metrics.txt": lambda: _of_worker(worker, "/metrics"),
        "ready.json": lambda: _of_worker(worker, "/readyz"),
        "live.json": lambda: _of_worker(worker, "/livez"),
        "threads.txt": lambda: _of_worker(worker, "/threads"),
    }
    if log is not None:
        contents["log.jsonl"] = lambda: _log(log)
    secrets = [value.encode() for value in resolved.secret_values() if len(value) >= _SHORTEST_SECRET]
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, _without(_tried(content), secrets))
    return list(contents)


def _tried(content: Callable[[], bytes]) -> bytes:
    try:
        return content()
    except (StreamWorkerError, OSError) as error:
        return f"not to be had: {error}\n".encode()


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str)


def _doctor(settings: Settings) -> bytes:
    from stream_worker.doctor.examination import examine
    from stream_worker.doctor.finding import Group

    return _json(
        [
            {"group": found.group, "name": found.name, "mark": found.mark, "what": found.what, "cure": found.cure}
            for each in examine(settings, list(Group), write_probe=False)
            for found in each.findings
        ]
    )


def _group(settings: Settings) -> bytes:
    from stream_worker.contracts.internal import LEDGER_PREFIX, load_ledger
    from stream_worker.kafka.group_admin import describe_group
    from stream_worker.kafka.reading import ends, records
    from stream_worker.kafka.topic_admin import connect

    admin = connect(settings)
    status = describe_group(admin, settings)
    ledgers = {}
    for record in records(settings, settings.changelog, ends(admin, settings.changelog, range(len(status.partitions)))):
        if (record.key or b"").startswith(LEDGER_PREFIX) and record.value is not None:
            ledgers[record.partition] = load_ledger(record.value, record.partition)
    partitions = [
        {
            "partition": each.partition,
            "owner": each.owner,
            "committed": each.committed,
            "end": each.end,
            "ledger": ledgers.get(each.partition),
        }
        for each in status.partitions
    ]
    return _json({"group": status.group, "state": status.state, "members": status.members, "partitions": partitions})


def _of_worker(worker: str, path: str) -> bytes:
    answer = ask(f"{worker.rstrip('/')}{path}")
    return f"nobody answers at {worker}\n".encode() if answer is None else answer


def _log(file: Path) -> bytes:
    """The last lines that are ours. A line of another form may hold anything, so it is only counted."""
    lines = file.read_bytes().splitlines()[-_LOG_LINES:]
    kept, foreign = [], 0
    for line in lines:
        try:
            event = orjson.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            kept.append(orjson.dumps(drop_content(None, "", event)))
        else:
            foreign += 1
    if foreign:
        kept.append(orjson.dumps({"event": "lines that are no JSON were left out", "lines": foreign}))
    return b"\n".join(kept) + b"\n"


def _without(content: bytes, secrets: list[bytes]) -> bytes:
    for secret in secrets:
        content = content.replace(secret, MASK.encode())
    return content
