"""The chart: what it renders is valid, is what it was, and what cannot work does not render."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_worker.kafka.rights import Kind, Operation, Right, User, rights
from stream_worker.kafka.topics import topic_table
from stream_worker.observability.metric_table import TABLE
from stream_worker.settings import Settings
from tests.watching_queries import base_name, selectors
from tools import chart
from tools.watching.rules import JOB

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "stream-worker"
GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34"
#: How the users of the values for Strimzi are named.
_SUFFIXES = {User.WORKER: "", User.GATEWAY: "-gateway", User.CONSOLE: "-console"}
#: Set to write the golden renders anew; then read the difference.
UPDATE = "UPDATE_GOLDEN"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm") or str(ROOT / ".cache" / "bin" / "helm")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def render(case: str, *more: str) -> subprocess.CompletedProcess[str]:
    values = str(CHART / "ci" / f"{case}-values.yaml")
    version = f"{KUBERNETES}.0"
    return helm("template", "bot", str(CHART), "-n", "chat", "--kube-version", version, "-f", values, *more)


def objects(text: str) -> list[dict[str, Any]]:
    return [each for each in YAML(typ="safe").load_all(text) if each]


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_valid_for_kubernetes_and_the_worker(case: str, tmp_path: Path) -> None:
    done = render(case)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "rendered.yaml"
    file.write_text(done.stdout)
    program = Path(sys.executable).parent / "kubernetes-validate"
    checked = subprocess.run(
        [str(program), "-k", KUBERNETES, "--strict", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    for each in objects(done.stdout):
        _has_labels(each)
        if each["kind"] == "ConfigMap" and "stream-worker.yaml" in each["data"]:
            Settings.model_validate(
                YAML(typ="safe").load(each["data"]["stream-worker.yaml"].replace("${INSTANCE}", "bot-0"))
            )
        for pod in _pods(each):
            _is_restricted(pod)


def _has_labels(each: dict[str, Any]) -> None:
    if each["metadata"]["name"].endswith("-extra"):
        return
    labels = each["metadata"]["labels"]
    names = ("name", "instance", "version", "component", "part-of", "managed-by")
    assert {f"app.kubernetes.io/{name}" for name in names} | {"helm.sh/chart"} <= labels.keys()


def _pods(each: dict[str, Any]) -> list[dict[str, Any]]:
    if each["kind"] == "Pod":
        return [each["spec"]]
    template = each.get("spec", {}).get("template") if each["kind"] in ("StatefulSet", "Deployment", "Job") else None
    return [template["spec"]] if template else []


def _is_restricted(pod: dict[str, Any]) -> None:
    """Kubernetes' restricted pod security."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", ["gpu", "laptop", "locked-down", "strimzi"])
def test_a_render_is_what_it_was(case: str) -> None:
    rendered = render(case).stdout
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get(UPDATE):
        file.write_text(rendered)
    assert rendered == file.read_text()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["replicas=97"], "97 workers for 96 partitions"),
        (["autoscaling.enabled=true", "autoscaling.maxReplicas=97"], "97 workers for 96 partitions"),
        (["console.enabled=true"], "console.tokenSecret"),
        (["replica=3"], "replica"),
        (["gpu.count=-1"], "count"),
    ],
)
def test_what_cannot_work_does_not_render(values: list[str], sentence: str) -> None:
    done = render("default", *(part for value in values for part in ("--set", value)))
    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize("case", ["strimzi", "laptop"])
def test_the_topics_of_strimzi_are_those_of_the_one_table(case: str) -> None:
    rendered = objects(render(case, "--set", "strimzi.cluster=main").stdout)
    settings = _settings_of(rendered, "stream-worker.yaml")
    made = {each["spec"]["topicName"]: each["spec"] for each in rendered if each["kind"] == "KafkaTopic"}
    expected = {
        spec.name: {
            "topicName": spec.name,
            "partitions": spec.partitions,
            "replicas": spec.replication_factor,
            "config": dict(spec.config),
        }
        for spec in topic_table(settings)
    }
    assert made == expected


def _settings_of(rendered: list[dict[str, Any]], file: str) -> Settings:
    """What a pod that is given this file works with."""
    (text,) = (each["data"][file] for each in rendered if each["kind"] == "ConfigMap" and _is_a_workers(each))
    return Settings.model_validate(YAML(typ="safe").load(text.replace("${INSTANCE}", "bot-0")))


def _is_a_workers(config_map: dict[str, Any]) -> bool:
    return "${INSTANCE}" in config_map["data"].get("stream-worker.yaml", "")


def _strimzis_rights(user: dict[str, Any]) -> set[str]:
    """What a KafkaUser is allowed, in the words of the table of rights."""
    kinds = {"topic": Kind.TOPIC, "group": Kind.GROUP, "transactionalId": Kind.TRANSACTIONAL_ID}
    operations = {"Read": Operation.READ, "Write": Operation.WRITE, "DescribeConfigs": Operation.DESCRIBE_CONFIGS}
    return {
        str(
            Right(
                operations[operation],
                kinds[acl["resource"]["type"]],
                acl["resource"]["name"],
                acl["resource"]["patternType"] == "prefix",
                "",
            )
        )
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }


@pytest.mark.parametrize("user", chart.STRIMZI_USERS)
def test_a_user_of_strimzi_has_exactly_the_rights_of_the_one_table(user: User) -> None:
    rendered = objects(render("strimzi").stdout)
    (made,) = (
        each
        for each in rendered
        if each["kind"] == "KafkaUser" and each["metadata"]["name"] == f"assistant{_SUFFIXES[user]}"
    )
    allowed = _strimzis_rights(made)
    assert allowed == {str(right) for right in rights(_settings_of(rendered, "stream-worker.yaml"), user)}


def test_the_console_signs_in_as_the_user_who_may_write_events() -> None:
    rendered = objects(render("strimzi").stdout)
    worker, console = (_settings_of(rendered, name) for name in ("stream-worker.yaml", "console.yaml"))
    assert worker.kafka.client["sasl.username"] == "assistant"
    assert console.kafka.client["sasl.username"] == "assistant-console"
    assert console.kafka.bootstrap_servers == worker.kafka.bootstrap_servers
    (deployment,) = (each for each in rendered if each["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--config=/etc/stream-worker/console.yaml" in arguments


def _mounted(rendered: list[dict[str, Any]], kind: str, name: str) -> set[str]:
    """The Secrets of a pod's settings."""
    (pod,) = (_pods(each)[0] for each in rendered if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return {volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"].startswith("secret-")}


def test_only_the_job_and_the_console_hold_the_secrets_of_what_a_worker_may_not_do() -> None:
    more = ("--set", "topics.create=true,topics.secrets={admin}", "--set", "topics.settings.kafka.client.x=admin")
    rendered = objects(render("strimzi", *more).stdout)
    shared = {"main-cluster-ca-cert", "assistant"}
    assert _mounted(rendered, "StatefulSet", "bot") == shared
    assert _mounted(rendered, "Deployment", "bot-console") == shared | {"assistant-console"}
    assert _mounted(rendered, "Pod", "bot-test") == shared | {"assistant-console"}
    assert _mounted(rendered, "Job", "bot-topics") == shared | {"admin"}


def test_the_topics_are_made_by_a_user_of_their_own() -> None:
    client = "topics.settings.kafka.client"
    rendered = objects(
        render("locked-down", "--set", "topics.create=true", "--set", f"{client}.sasl\\.username=admin").stdout
    )
    (job,) = (each for each in rendered if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "bot-topics")
    made_by = Settings.model_validate(YAML(typ="safe").load(job["data"]["stream-worker.yaml"]))
    worker = _settings_of(rendered, "stream-worker.yaml")
    assert (made_by.kafka.client["sasl.username"], worker.kafka.client["sasl.username"]) == ("admin", "bank")
    assert made_by.kafka.client["security.protocol"] == worker.kafka.client["security.protocol"]
    assert topic_table(made_by) == topic_table(worker)


def test_the_alert_for_nobody_there_knows_the_job_of_the_scraped_workers() -> None:
    (monitor,) = (each for each in objects(render("monitoring").stdout) if each["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    jobs = [each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job"]
    assert len(jobs) == 1
    assert re.fullmatch(JOB, jobs[0])
    (rules,) = (each for each in objects(render("monitoring").stdout) if each["kind"] == "PrometheusRule")
    exprs = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert any(f'job=~"{JOB}"' in expr for expr in exprs)


def test_what_scales_the_workers_is_what_they_export() -> None:
    (scaled,) = (each for each in objects(render("gpu").stdout) if each["kind"] == "ScaledObject")
    queries = [each["metadata"]["query"] for each in scaled["spec"]["triggers"] if each["type"] == "prometheus"]
    assert len(queries) == 2
    for selector in (found for query in queries for found in selectors(query)):
        (labels,) = (spec.labels for name, spec in TABLE.items() if name == base_name(str(selector.name)))
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= {"namespace", "pod"} | {label.text for label in labels}


def test_workers_reach_kafka_and_what_else_is_named() -> None:
    rendered = objects(render("locked-down", "--set", "networkPolicy.otherPorts={8000,4318}").stdout)
    (policy,) = (each for each in rendered if each["kind"] == "NetworkPolicy")
    assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53, 9093, 8000, 4318]


def notes(*arguments: str) -> str:
    """What an installation says at its end: the notes as a template of their own, for only installing shows them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(CHART, Path(folder) / "chart")
        text = (copy / "templates" / "NOTES.txt").read_text(encoding="utf-8")
        quoted = 'kind: Notes\ntext: |\n  {{- include "notes" . | nindent 2 }}\n'
        (copy / "templates" / "_notes.tpl").write_text(f'{{{{- define "notes" -}}}}{text}{{{{- end }}}}')
        (copy / "templates" / "notes.yaml").write_text(quoted)
        shown = ("--show-only", "templates/notes.yaml")
        done = helm("template", "bot", str(copy), "-n", "chat", "--kube-version", f"{KUBERNETES}.0", *shown, *arguments)
    assert done.returncode == 0, done.stderr
    return str(objects(done.stdout)[0]["text"])


def test_the_notes_say_what_was_found_and_how_to_begin() -> None:
    bare = notes()
    assert "Prometheus operator: not found" in bare
    assert "KEDA: not found" in bare
    assert "exec -it bot-0 -- stream-worker chat" in bare
    assert "The console is off" in bare
    apis = ["--api-versions", "monitoring.coreos.com/v1", "--api-versions", "keda.sh/v1alpha1"]
    full = notes(*apis, "--set", "console.enabled=true,console.tokenSecret=t,autoscaling.enabled=true")
    assert "Prometheus operator: found; monitoring.podMonitor lets it scrape" in full
    assert "KEDA: found; it scales the workers" in full
    assert "port-forward service/bot-console" in full
    assert "exec -it deployment/bot-console -- stream-worker chat" in full


def test_the_readme_says_what_each_value_means() -> None:
    rows = [line for line in chart.readme().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if not row.split("|")[-2].strip()] == []


def test_helm_test_examines_the_cluster_and_then_has_a_conversation() -> None:
    (pod,) = (each for each in objects(render("default").stdout) if each["kind"] == "Pod")
    (doctor,), (conversation,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert doctor["args"][:2] == ["doctor", "--strict"]
    assert "stream-worker chat" in conversation["command"][-1]


def test_as_many_workers_as_partitions_render() -> None:
    assert render("default", "--set", "replicas=96").returncode == 0


def test_a_pod_may_drain_before_it_is_killed() -> None:
    (worker,) = [each for each in objects(render("gpu").stdout) if each["kind"] == "StatefulSet"]
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60.5 + 15
    limits = worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
