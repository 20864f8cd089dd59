"""No command prints a secret, wherever that came from, whichever way the command ends.

The commands are those of the real tree, and the secrets stand wherever the settings have a place for one: a command or
a place that is new and not looked at here fails a test.
"""

import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from pydantic import SecretStr

from stream_worker.cli.output import Format
from stream_worker.settings import tree
from stream_worker.settings.environment import variable
from stream_worker.settings.loader import Resolved, resolve
from tests.commands import Command, Ended, run_all
from tests.unit.cli.test_outputs import commands

CANARY = "canary-9c41"
NOBODY = "127.0.0.1:9"
_JSON = ("json",)


class Way(StrEnum):
    """How a secret comes into the settings."""

    INLINE = "inline"
    FILE = "file"
    VARIABLE = "variable"
    ENVIRONMENT = "environment"


class Login(StrEnum):
    PASSWORD = "password"
    TOKEN = "token"
    CERTIFICATE = "certificate"


#: Settings of librdkafka for each way to log in; of those that are secret only the name counts here.
_CLIENT: dict[Login, dict[str, str]] = {
    Login.PASSWORD: {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "shop",
        "sasl.password": "",
    },
    Login.TOKEN: {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "shop",
        "sasl.oauthbearer.client.secret": "",
        "sasl.oauthbearer.token.endpoint.url": f"http://{NOBODY}/token",
    },
    Login.CERTIFICATE: {"security.protocol": "SSL", "ssl.key.pem": "", "ssl.key.password": ""},
}
#: The secrets in every mapping whose values may be some.
_IN_MAPPINGS: dict[tree.Path, tuple[tree.Path, ...]] = {
    ("kafka", "client"): (),
    ("kafka", "consumer"): (("ssl.keystore.password",),),
    ("kafka", "producer"): (("ssl.key.password",),),
    ("calls", "headers"): (("api.example.org", "authorization"),),
    ("engine", "openai", "extra_body"): (("user_token",), ("nested", "password")),
    ("engine", "vllm", "extra_arguments"): (("hf_token",),),
}
_WITHOUT_SECRETS = {("admission", "tenant_weights"), ("engine", "sampling", "logit_bias")}
_PLAIN: dict[str, Any] = {
    "bots": [{"file": "bot.yaml"}],
    "kafka": {"bootstrap_servers": NOBODY, "client": {"debug": "all", "log_level": 7, "reconnect.backoff.ms": 2_000}},
    "engine": {"kind": "openai"},
    "understanding": {"encoder": None},
    "observability": {"port": 0, "log_level": "debug"},
    "traces": {"enabled": True},
}
_TRACING = {
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{CANARY}-header",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://collector:{CANARY}-collector@{NOBODY}",
}


def given(path: tree.Path = ()) -> Iterator[tree.Path]:
    """Every setting that has a value of its own, with those in the items of a list."""
    for key in tree.keys_at(path):
        here = (*path, key)
        if tree.keys_at(here):
            yield from given(here)
        elif tree.keys_at((*here, 0)):
            yield from given((*here, 0))
        else:
            yield here


def secrets(login: Login) -> dict[tree.Path, str]:
    """A canary for each place that may hold a secret: a field, a key of a mapping, a user's part of a URL."""
    client = tuple((name,) for name, value in _CLIENT[login].items() if not value)
    in_mappings = {**_IN_MAPPINGS, ("kafka", "client"): client}
    paths = [path for path in given() if tree.annotation_at(path) is SecretStr]
    paths += [(*path, *key) for path, keys in in_mappings.items() for key in keys]
    found = {path: f"{CANARY}-{number:02}" for number, path in enumerate(paths)}
    for path in given():
        if tree.annotation_at(path) is str and str(path[-1]).endswith(("url", "proxy")):
            found[path] = f"http://user:{CANARY}-{path[-1]}@{NOBODY}/v1"
    return found


@dataclass(slots=True)
class Project:
    """A folder with a settings file that holds every secret; `environ` is what the file or the settings ask for."""

    folder: Path
    login: Login
    way: Way
    environ: dict[str, str] = field(default_factory=lambda: dict(_TRACING))

    def written(self) -> "Project":
        settings: dict[str, Any] = orjson.loads(orjson.dumps(_PLAIN))
        settings["kafka"]["client"] |= {name: value for name, value in _CLIENT[self.login].items() if value}
        for number, (path, secret) in enumerate(secrets(self.login).items()):
            self._put(settings, path, self._reference(number, path, secret))
        if self.way is Way.ENVIRONMENT:
            # What stands deep in a mapping has no variable of its own: the section comes as a whole.
            for path in [each for each in _IN_MAPPINGS if each[0] != "kafka"]:
                self.environ[variable(path)] = orjson.dumps(self._taken(settings, path)).decode()
        (self.folder / "bot.yaml").write_text("bot: shop\nfallback: {reply: {template: Hello}}\n", encoding="utf-8")
        (self.folder / "stream-worker.yaml").write_bytes(orjson.dumps(settings))
        return self

    def _reference(self, number: int, path: tree.Path, secret: str) -> str | None:
        match self.way:
            case Way.FILE:
                (self.folder / f"secret-{number}").write_text(secret + "\n", encoding="utf-8")
                return f"${{file:secret-{number}}}"
            case Way.VARIABLE:
                self.environ[f"SECRET_{number}"] = secret
                return f"${{SECRET_{number}}}"
            case Way.ENVIRONMENT if not any(path[: len(each)] == each and each[0] != "kafka" for each in _IN_MAPPINGS):
                self.environ[variable(path)] = secret
                return None
            case _:
                return secret

    def _put(self, settings: dict[str, Any], path: tree.Path, value: str | None) -> None:
        if value is not None:
            for part in path[:-1]:
                settings = settings.setdefault(str(part), {})
            settings[str(path[-1])] = value

    def _taken(self, settings: dict[str, Any], path: tree.Path) -> Any:
        for part in path[:-1]:
            settings = settings[str(part)]
        return settings.pop(str(path[-1]))


#: Every command and how it is called. Those of `EACH_WAY` are called with every way and login, others with one.
LINES: dict[str, tuple[str, ...]] = {
    "broker start": ("--folder bot.yaml",),
    "chat": ("",),
    "completion": ("bash",),
    "config check": ("", "--online"),
    "config migrate": ("--dry-run", "--yes"),
    "config schema": ("",),
    "config show": ("--resolved --sources", ""),
    "console": ("--port 0",),
    "conversation explain": ("c-1",),
    "conversation show": ("c-1",),
    "debug bundle": ("",),
    "demo": (f"--kafka {NOBODY} --once hello",),
    "dlq drop": ("--yes",),
    "dlq list": ("",),
    "dlq redrive": ("--yes",),
    "dlq show": ("0/1", "0/1 --show-content"),
    "doctor": ("", "--write-probe --strict"),
    "health": (f"--url {NOBODY}",),
    "init": ("shop",),
    "lag": ("",),
    "nlu evaluate": ("",),
    "nlu explain": ("heads hello",),
    "nlu parse": ("heads",),
    "nlu train": ("nlu.yml --output heads",),
    "nlu validate": ("nlu.yml",),
    "run": ("", "--bot bot.yaml --device cpu --instance w-0"),
    "schemas": ("--check",),
    "send": ("hello",),
    "status": ("", f"--worker {NOBODY}"),
    "tail": ("", "--topic replies --text"),
    "test": ("",),
    "topics acls": ("",),
    "topics check": ("",),
    "topics create": ("--yes",),
    "topics repartition": ("--to 4 --yes",),
    "version": ("",),
}
EACH_WAY = {"config check", "config show"}
_SERVES = {"console": 4.0}


def calls() -> Iterator[tuple[str, str]]:
    """Each line in each of its output forms."""
    for name, command in commands():
        forms = any("-o" in each.opts and isinstance(each.default, Format) for each in command.params)
        for line in LINES[name]:
            yield name, line
            if forms:
                yield name, f"{line} -o json"


def planned(folder: Path) -> list[Command]:
    kinds = [(login, way) for login in Login for way in Way]
    found: list[Command] = []
    for number, (name, line) in enumerate(calls()):
        every = name in EACH_WAY and "--online" not in line
        for login, way in kinds if every else [kinds[number % len(kinds)]]:
            own = folder / f"{len(found)}"
            own.mkdir()
            project = Project(own, login, way).written()
            found.append(
                Command(
                    arguments=[*name.split(), *shlex.split(line)],
                    folder=own,
                    environ=project.environ,
                    stops_after_s=_SERVES.get(name),
                )
            )
    return found


def leaks(ended: Ended, before: set[Path]) -> list[str]:
    """Where a canary was shown: on a stream, in an error, in a file that the command wrote."""
    shown = {"printed": ended.printed, "errors": ended.errors}
    for file in set(ended.command.folder.rglob("*")) - before:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                shown |= {f"{file.name}: {name}": archive.read(name) for name in archive.namelist()}
        elif file.is_file():
            shown[file.name] = file.read_bytes()
    called = " ".join(ended.command.arguments)
    return [
        f"{called}: {where}: {line.decode(errors='replace').strip()}"
        for where, content in shown.items()
        for line in content.splitlines()
        if CANARY.encode() in line
    ]


def run_and_look(planned: list[Command], outputs: Path) -> tuple[list[Ended], list[str]]:
    outputs.mkdir()
    before = [set(command.folder.rglob("*")) for command in planned]
    ended = run_all(planned, outputs)
    return ended, [leak for each, files in zip(ended, before, strict=True) for leak in leaks(each, files)]


def test_every_command_has_its_line() -> None:
    assert set(LINES) == {name for name, _ in commands()}


def test_every_mapping_of_the_settings_was_looked_at_for_secrets() -> None:
    mappings = {path for path in given() if tree.is_mapping(tree.annotation_at(path))}
    assert mappings == set(_IN_MAPPINGS) | _WITHOUT_SECRETS


@pytest.mark.parametrize("login", list(Login))
@pytest.mark.parametrize("way", list(Way))
def test_every_secret_is_in_force_and_in_no_repr(login: Login, way: Way, tmp_path: Path) -> None:
    project = Project(tmp_path, login, way).written()
    resolved = resolve(tmp_path / "stream-worker.yaml", {}, project.environ)
    held = resolved.secret_values()
    assert all(any(value in secret for value in held) for secret in secrets(login).values())
    assert CANARY not in repr(resolved.settings) + str(resolved.settings)
    assert CANARY not in str(resolved.masked()) + str(list(resolved.values()))


def test_no_command_shows_a_secret(tmp_path: Path) -> None:
    commands = planned(tmp_path)
    ended, leaked = run_and_look(commands, tmp_path / "outputs")
    assert not leaked
    crashed = [each.command.arguments for each in ended if b"Traceback (most recent call last)" in each.printed]
    assert not crashed
    # Debug lines of librdkafka were there to be looked through.
    assert sum(b"rdkafka#" in each.printed for each in ended) > len(ended) / 4


def show_the_raw_tree() -> None:
    """The bug: `config show` without its mask."""
    patch.object(Resolved, "_shown", lambda _self, _path, value: value).start()


def test_a_command_that_shows_a_secret_is_found(tmp_path: Path) -> None:
    project = Project(tmp_path, Login.PASSWORD, Way.FILE).written()
    command = Command(arguments=["config", "show"], folder=tmp_path, environ=project.environ, plant=show_the_raw_tree)
    _, leaked = run_and_look([command], tmp_path / "outputs")
    assert any("sasl.password" in leak for leak in leaked)


#: What a person mistypes; each holds a secret where the parser stops.
BROKEN = {
    "the key twice": "kafka:\n  client:\n    sasl.password: {0}-1\n    sasl.password: {0}-2\n",
    "begins as an alias": "kafka:\n  client:\n    sasl.password: *{0}\n",
    "begins as a tag": "kafka:\n  client:\n    sasl.password: !{0}!{0}\n",
    "begins as no token": "kafka:\n  client:\n    sasl.password: @{0}\n",
    "a quote too few": "kafka:\n  client:\n    sasl.password: \"{0}\n",
    "an escape": "kafka:\n  client:\n    sasl.password: \"{0}\\{0}\"\n",
    "two colons": "kafka:\n  client:\n    sasl.password: {0}: {0}\n",
    "no mapping": "{0}\n",
    "a list": "kafka:\n  client:\n    sasl.password: [{0}]\n",
    "another type": "tick_ms: {0}\nengine: {{openai: {{api_key: [{0}]}}}}\n",
    "almost a variable": "kafka:\n  client:\n    sasl.password: ${{{0}\n",
}  # fmt: skip


@pytest.mark.parametrize("command", ["show", "check", "migrate --yes"])
def test_a_file_that_cannot_be_read_is_refused_without_what_stands_in_it(command: str, tmp_path: Path) -> None:
    planned = []
    for name, text in BROKEN.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "stream-worker.yaml").write_text(text.format(CANARY), encoding="utf-8")
        planned.append(Command(arguments=["config", *command.split()], folder=folder))
    ended, leaked = run_and_look(planned, tmp_path / "outputs")
    assert not leaked
    assert all(b"Traceback" not in each.printed for each in ended)
    assert all(each.code == 2 for each in ended if command != "migrate --yes")
