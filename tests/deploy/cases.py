"""For every alert: series that make it fire, and series, nearly the same, that do not."""

from dataclasses import dataclass

from tools.watching.rules import Severity

#: Labels that Prometheus adds to what a worker exports.
WHERE = 'namespace="chat",job="stream-worker",pod="w-0"'
_C, _W = Severity.CRITICAL, Severity.WARNING


@dataclass(frozen=True, slots=True)
class Case:
    """Series in promtool's notation by name, without our prefix; a label may follow the name in braces.

    `at` is when they are looked at; samples come each minute.
    """

    alert: str
    severity: Severity
    at: str
    fires: dict[str, str]
    silent: dict[str, str]


def _slo(late_share_percent: float, minutes: int) -> dict[str, str]:
    """A hundred replies a minute, so many of them late."""
    return {
        "event_to_reply_seconds_count": f"0+100x{minutes}",
        "replies_within_slo_total": f"0+{100 - late_share_percent:g}x{minutes}",
    }


_EVENTS = 'events_total{outcome="replied"}'
_DEAD = 'events_total{outcome="dead_lettered"}'
_HEARTBEAT = 'loop_heartbeat_timestamp_seconds{loop="device"}'
_FENCED = 'fatal_errors_total{code="SW-K005"}'

CASES = (
    Case("StreamWorkerDown", _C, "10m", {"up": "0x10"}, {"up": "1x10"}),
    Case("StreamWorkerDown", _C, "10m", {}, {"up": "1x3 0 0 1x10"}),
    Case("StreamWorkerReplySLOFastBurn", _C, "70m", _slo(20, 70), _slo(10, 70)),
    Case("StreamWorkerReplySLOSlowBurn", _W, "8h", _slo(8, 480), _slo(0.5, 480)),
    Case("StreamWorkerReplySLOSlowBurn", _W, "80h", _slo(2, 4800), _slo(0.5, 4800)),
    Case(
        "StreamWorkerPartitionStuck",
        _C,
        "10m",
        {'offset_age_seconds{partition="3"}': "400x10", 'partition_lag{partition="3"}': "7x10"},
        {'offset_age_seconds{partition="3"}': "400x10", 'partition_lag{partition="3"}': "0x10"},
    ),
    Case(
        "StreamWorkerPartitionUnowned",
        _C,
        "10m",
        {"assigned_partitions": "95x10", "topic_partitions": "96x10"},
        {"assigned_partitions": "96x10", "topic_partitions": "96x10"},
    ),
    Case(
        "StreamWorkerBacklogGrowing",
        _W,
        "30m",
        {"backlog_work_seconds": "20+1x30", "reply_slo_seconds": "10x30"},
        {"backlog_work_seconds": "80-1x30", "reply_slo_seconds": "10x30"},
    ),
    Case(
        "StreamWorkerEventsExpiring",
        _W,
        "30m",
        {_EVENTS: "0+100x30", 'events_total{outcome="expired"}': "0+2x30"},
        {_EVENTS: "0+1000x30", 'events_total{outcome="expired"}': "0+2x30"},
    ),
    Case(
        "StreamWorkerDeadLettering",
        _W,
        "30m",
        {_EVENTS: "0+100x30", _DEAD: "0+2x30"},
        {_EVENTS: "0+1000x30", _DEAD: "0+2x30"},
    ),
    Case(
        "StreamWorkerDeadLettering",
        _C,
        "30m",
        {_EVENTS: "0+100x30", _DEAD: "0+50x30"},
        {_EVENTS: "0+100x30", _DEAD: "0+10x30"},
    ),
    Case(
        "StreamWorkerCommitAborts",
        _W,
        "40m",
        {'commits_total{outcome="committed"}': "0+100x40", 'commits_total{outcome="aborted"}': "0+10x40"},
        {'commits_total{outcome="committed"}': "0+100x40", 'commits_total{outcome="aborted"}': "0+1x40"},
    ),
    Case("StreamWorkerFenced", _W, "16m", {_FENCED: "0x4 1 2 3 4x10"}, {_FENCED: "0x4 1 1x12"}),
    Case(
        "StreamWorkerRebalancing",
        _W,
        "30m",
        {"assigned_partitions": "8 4 8 4 8 4 8 4 8x30"},
        {"assigned_partitions": "8 4 8 4 8x30"},
    ),
    Case("StreamWorkerLoopStalled", _C, "10m", {_HEARTBEAT: "300x10"}, {_HEARTBEAT: "0+60x10"}),
    Case(
        "StreamWorkerRestoring",
        _W,
        "10m",
        {"restoring_partitions": "0x5 2x10"},
        {"restoring_partitions": "0x5 2 0 2 0 2 0 2 0"},
    ),
    Case(
        "StreamWorkerKVCacheFull",
        _W,
        "20m",
        {"kv_cache_usage_ratio": "0.97x20", 'inflight_turns{state="queued"}': "4x20"},
        {"kv_cache_usage_ratio": "0.97x20", 'inflight_turns{state="queued"}': "0x20"},
    ),
    Case(
        "StreamWorkerPrefixCacheCold",
        _W,
        "70m",
        {
            "prompt_tokens_total": "0+1000x70",
            "prompt_tokens_cached_total": "0+100x70",
            'replies_total{finish_reason="stop"}': "0+120x70",
        },
        {
            "prompt_tokens_total": "0+1000x70",
            "prompt_tokens_cached_total": "0+800x70",
            'replies_total{finish_reason="stop"}': "0+120x70",
        },
    ),
    Case(
        "StreamWorkerBotReloadFailed",
        _W,
        "10m",
        {"last_bot_reload_success": "0x10"},
        {"last_bot_reload_success": "0 0 0 1x10"},
    ),
    Case(
        "StreamWorkerCertificateExpiring",
        _W,
        "2h",
        {"certificate_expiry_timestamp_seconds": "864000x120"},
        {"certificate_expiry_timestamp_seconds": "8640000x120"},
    ),
)
