"""Recording and alerting rules: a plain file for Prometheus, and a `PrometheusRule` for its operator, of one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from stream_worker.errors import Code

#: Prometheus must scrape the workers under a job whose name has this in it: for rules that see that nobody is there.
JOB = ".*stream-worker.*"
_WORKERS = "namespace, job"
_PODS = "namespace, job, pod"
_OBJECTIVE = 0.99


class Severity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Alert:
    """`dashboard` is the uid of the one to look at; `summary` may name labels of the expression."""

    name: str
    severity: Severity
    expr: str
    wait: str
    summary: str
    description: str
    dashboard: str = "stream-worker-overview"


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    expr: str


def _errors(window: str) -> str:
    in_time = f"sum by ({_WORKERS}) (rate(stream_worker_replies_within_slo_total[{window}]))"
    replies = f"sum by ({_WORKERS}) (rate(stream_worker_event_to_reply_seconds_count[{window}]))"
    return f"1 - {in_time} / {replies}"


RECORDINGS = tuple(
    Recording(f"stream_worker:reply_slo_errors:ratio_rate{window}", _errors(window))
    for window in ("5m", "30m", "1h", "6h", "3d")
)


def _burns(factor: float, *windows: str) -> str:
    limit = f"{factor * (1 - _OBJECTIVE):g}"
    return " and ".join(f"stream_worker:reply_slo_errors:ratio_rate{window} > {limit}" for window in windows)


def _share(part: str, whole: str, window: str) -> str:
    return f"sum by ({_WORKERS}) (rate({part}[{window}])) / sum by ({_WORKERS}) (rate({whole}[{window}]))"


_LETTERS = _share('stream_worker_events_total{outcome="dead_lettered"}', "stream_worker_events_total", "10m")
_EXPIRED = _share('stream_worker_events_total{outcome="expired"}', "stream_worker_events_total", "10m")
_ABORTED = _share('stream_worker_commits_total{outcome="aborted"}', "stream_worker_commits_total", "15m")
_CACHED = _share("stream_worker_prompt_tokens_cached_total", "stream_worker_prompt_tokens_total", "30m")
_C, _W = Severity.CRITICAL, Severity.WARNING
_INFERENCE, _KAFKA = "stream-worker-inference", "stream-worker-kafka"

ALERTS = (
    Alert(
        "StreamWorkerDown",
        _C,
        f'absent(up{{job=~"{JOB}"}} == 1)',
        "5m",
        "No worker answers Prometheus",
        "No target of the workers' job has answered for five minutes: nobody is answered.",
    ),
    Alert(
        "StreamWorkerReplySLOFastBurn",
        _C,
        _burns(14.4, "1h", "5m"),
        "2m",
        "Too many replies of {{ $labels.job }} come late",
        "{{ $value | humanizePercentage }} of the replies of an hour broke slo.reply_seconds: at this rate the "
        "budget of a month is gone in two days.",
    ),
    Alert(
        "StreamWorkerReplySLOSlowBurn",
        _W,
        f"({_burns(6, '6h', '30m')}) or ({_burns(1, '3d', '6h')})",
        "15m",
        "Replies of {{ $labels.job }} have been late for hours",
        "{{ $value | humanizePercentage }} of the replies broke slo.reply_seconds: the budget will not last.",
    ),
    Alert(
        "StreamWorkerPartitionStuck",
        _C,
        "stream_worker_offset_age_seconds > 300 and stream_worker_partition_lag > 0",
        "5m",
        "Partition {{ $labels.partition }} of {{ $labels.topic }} stands still",
        "Its group offset has waited for {{ $value | humanizeDuration }} in {{ $labels.pod }}.",
    ),
    Alert(
        "StreamWorkerPartitionUnowned",
        _C,
        f"sum by ({_WORKERS}) (stream_worker_assigned_partitions) "
        f"< max by ({_WORKERS}) (stream_worker_topic_partitions)",
        "5m",
        "Partitions that no worker of {{ $labels.job }} has",
        "Only {{ $value }} partitions are assigned: the messages of the others are not answered.",
    ),
    Alert(
        "StreamWorkerBacklogGrowing",
        _W,
        "stream_worker_backlog_work_seconds > stream_worker_reply_slo_seconds "
        "and deriv(stream_worker_backlog_work_seconds[10m]) > 0",
        "10m",
        "{{ $labels.pod }} falls behind",
        "{{ $value | humanizeDuration }} of work wait in its partitions, more than what users were promised, and it "
        "grows.",
    ),
    Alert(
        "StreamWorkerEventsExpiring",
        _W,
        f"{_EXPIRED} > 0.01",
        "10m",
        "Messages expire unanswered in {{ $labels.job }}",
        "{{ $value | humanizePercentage }} of the events were too old to be answered.",
    ),
    Alert(
        "StreamWorkerDeadLettering",
        _W,
        f"{_LETTERS} > 0.01",
        "10m",
        "Messages become dead letters in {{ $labels.job }}",
        "{{ $value | humanizePercentage }} of the events could not be answered.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerDeadLettering",
        _C,
        f"{_LETTERS} > 0.2",
        "5m",
        "Most messages become dead letters in {{ $labels.job }}",
        "{{ $value | humanizePercentage }} of the events could not be answered: a producer or the bot is broken.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerCommitAborts",
        _W,
        f"{_ABORTED} > 0.05",
        "15m",
        "Transactions of {{ $labels.job }} are aborted",
        "{{ $value | humanizePercentage }} of them in 15 minutes. Nothing is lost, but replies come late.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerFenced",
        _W,
        f'sum by ({_PODS}) (increase(stream_worker_fatal_errors_total{{code="{Code.FENCED.id}"}}[15m])) > 2',
        "0m",
        "Two processes share the identity of {{ $labels.pod }}",
        "{{ $labels.pod }} was fenced {{ $value | humanize }} times in 15 minutes.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerRebalancing",
        _W,
        "changes(stream_worker_assigned_partitions[30m]) > 6",
        "0m",
        "The group of {{ $labels.job }} does not come to rest",
        "The partitions of {{ $labels.pod }} changed {{ $value }} times in half an hour.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerLoopStalled",
        _C,
        "time() - stream_worker_loop_heartbeat_timestamp_seconds > 30",
        "1m",
        "The {{ $labels.loop }} thread of {{ $labels.pod }} shows no sign of life",
        "It has been silent for {{ $value | humanizeDuration }}.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerRestoring",
        _W,
        "min_over_time(stream_worker_restoring_partitions[2m]) > 0",
        "0m",
        "{{ $labels.pod }} has been taking partitions for two minutes",
        "{{ $value }} partitions are not served yet.",
        _KAFKA,
    ),
    Alert(
        "StreamWorkerKVCacheFull",
        _W,
        f"stream_worker_kv_cache_usage_ratio > 0.95 and on ({_PODS}) "
        'stream_worker_inflight_turns{state="queued"} > 0',
        "10m",
        "Turns wait for memory in {{ $labels.pod }}",
        "{{ $value | humanizePercentage }} of the memory for keys and values is used, and turns wait.",
        _INFERENCE,
    ),
    Alert(
        "StreamWorkerPrefixCacheCold",
        _W,
        f"{_CACHED} < 0.5 and sum by ({_WORKERS}) (rate(stream_worker_replies_total[30m])) > 1",
        "30m",
        "Prompts of {{ $labels.job }} are computed again",
        "Only {{ $value | humanizePercentage }} of the prompts' tokens came from the cache.",
        _INFERENCE,
    ),
    Alert(
        "StreamWorkerBotReloadFailed",
        _W,
        "stream_worker_last_bot_reload_success == 0",
        "5m",
        "{{ $labels.pod }} refused a changed bot file",
        "The bots that were in force before the change answer. The log names the line that is wrong.",
    ),
    Alert(
        "StreamWorkerCertificateExpiring",
        _W,
        "stream_worker_certificate_expiry_timestamp_seconds - time() < 14 * 86400",
        "1h",
        "The client certificate of {{ $labels.pod }} ends soon",
        "It is good for {{ $value | humanizeDuration }} more; then the worker can join no broker.",
        _KAFKA,
    ),
)


def groups(docs: str, grafana: str) -> list[dict[str, Any]]:
    """What both files hold: `docs` and `grafana` are where the pages and the dashboards are."""
    return [
        {"name": "stream-worker-slo", "rules": [{"record": each.name, "expr": each.expr} for each in RECORDINGS]},
        {"name": "stream-worker", "rules": [_alert(each, docs, grafana) for each in ALERTS]},
    ]


def plain(docs: str, grafana: str) -> str:
    return _yaml({"groups": groups(docs, grafana)})


def for_operator(docs: str, grafana: str) -> str:
    """For the Prometheus operator; a chart puts its own metadata."""
    return _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "stream-worker", "labels": {"app.kubernetes.io/name": "stream-worker"}},
            "spec": {"groups": groups(docs, grafana)},
        }
    )


def _alert(alert: Alert, docs: str, grafana: str) -> Mapping[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity.value},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{docs}/runbooks/{alert.name}.md",
            "dashboard_url": f"{grafana}/d/{alert.dashboard}",
        },
    }


def _yaml(tree: object) -> str:
    yaml = YAML()
    yaml.width = 4096
    yaml.default_flow_style = False
    out = StringIO()
    out.write("# Generated by `make gen`; do not edit.\n")
    yaml.dump(orjson.loads(orjson.dumps(tree)), out)
    return str(out.getvalue())
