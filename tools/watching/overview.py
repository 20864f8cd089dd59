"""The dashboard for everybody: answers, load, people."""

from tools.watching.panels import Dashboard, Form, Panel, Query, Row, gauge, quantiles, rate, top

OVERVIEW = Dashboard(
    "stream-worker-overview",
    "Stream worker / Overview",
    "Are people answered, in time, by whom; and is there room for more?",
    (
        Row(
            "Answer",
            (
                Panel(
                    "Events by outcome",
                    "Every event that was settled, by how it ended. `replied` and `merged` were answered.",
                    "eps",
                    (rate("events_total", "outcome"),),
                    Form.STACKED,
                    page="reference/outcomes.md",
                ),
                Panel(
                    "Event to reply",
                    "From the event's record timestamp until its reply is settled; the line is the promise.",
                    "s",
                    (
                        *quantiles("event_to_reply_seconds", 0.5, 0.95, 0.99),
                        gauge("reply_slo_seconds", "", "max", legend="promised"),
                    ),
                    page="runbooks/StreamWorkerReplySLOFastBurn.md",
                ),
                Panel(
                    "Event to first delta",
                    "When a person sees the first words.",
                    "s",
                    quantiles("event_to_first_delta_seconds", 0.5, 0.95),
                ),
                Panel(
                    "Error budget left",
                    "Of the replies of three days 1 % may come late; how much of that is left.",
                    "percentunit",
                    (Query("1 - stream_worker:reply_slo_errors:ratio_rate3d / 0.01", "{{job}}"),),
                    most=1.0,
                    page="runbooks/StreamWorkerReplySLOSlowBurn.md",
                ),
                Panel(
                    "Unanswered",
                    "Events that ended without an answer and were meant to have one.",
                    "eps",
                    (rate("events_total", "outcome", 'outcome=~"expired|withdrawn|shed|dead_lettered"'),),
                    page="reference/outcomes.md",
                ),
            ),
        ),
        Row(
            "Load",
            (
                Panel(
                    "Lag by partition",
                    "Records from the group offset to the end; the twenty largest.",
                    "short",
                    (top(20, gauge("partition_lag", "partition", "max")),),
                    page="runbooks/StreamWorkerPartitionStuck.md",
                ),
                Panel(
                    "Age of the group offset",
                    "How long the oldest unsettled event of a partition has waited; the twenty oldest.",
                    "s",
                    (top(20, gauge("offset_age_seconds", "partition", "max")),),
                    page="runbooks/StreamWorkerPartitionStuck.md",
                ),
                Panel(
                    "Backlog in seconds of work",
                    "How long each worker needs for all that waits in its partitions. Autoscaling looks at this.",
                    "s",
                    (gauge("backlog_work_seconds", "pod", "max"),),
                    page="runbooks/StreamWorkerBacklogGrowing.md",
                ),
                Panel(
                    "Turns and events in hand",
                    "Turns that run, decode and wait for the engine; events in mailboxes and running turns.",
                    "short",
                    (gauge("inflight_turns", "state"), gauge("mailbox_events", "", legend="events in hand")),
                ),
                Panel(
                    "Workers and their partitions",
                    "Partitions of each worker, of the topic, and how many workers there are.",
                    "short",
                    (
                        gauge("assigned_partitions", "pod"),
                        gauge("topic_partitions", "", "max", legend="of the topic"),
                        Query("count(stream_worker_build_info{$s})", "workers"),
                    ),
                    page="runbooks/StreamWorkerPartitionUnowned.md",
                ),
                Panel(
                    "Versions and settings",
                    "Workers by version, bots, model and the hash of their settings: two are a half-done rollout.",
                    "short",
                    (
                        Query(
                            "count by (version, settings_hash, bot, model) (stream_worker_build_info{$s})",
                            "{{version}} {{settings_hash}} {{bot}} {{model}}",
                        ),
                    ),
                    Form.STACKED,
                ),
            ),
        ),
        Row(
            "People",
            (
                Panel(
                    "Hand-offs",
                    "Conversations handed to a human, and back to the bot.",
                    "cps",
                    (rate("handoffs_total", "direction"),),
                ),
                Panel(
                    "Out of scope",
                    "Share of replied turns for which no intent was found.",
                    "percentunit",
                    (
                        Query(
                            'sum(rate(stream_worker_understood_total{$s,intent="out_of_scope"}[$__rate_interval]))'
                            " / sum(rate(stream_worker_understood_total{$s}[$__rate_interval]))",
                            "out of scope",
                        ),
                    ),
                    most=1.0,
                ),
                Panel(
                    "Intents",
                    "Replied turns by intent, the ten most frequent.",
                    "cps",
                    (top(10, rate("understood_total", "intent")),),
                ),
                Panel(
                    "Languages",
                    "Replied turns by language, the ten most frequent.",
                    "cps",
                    (top(10, rate("languages_total", "language")),),
                ),
                Panel(
                    "Calls",
                    "Calls to other machines that turns made, by name and how they ended.",
                    "cps",
                    (rate("calls_total", "call, outcome", legend="{{call}} {{outcome}}"),),
                ),
                Panel(
                    "Bot files",
                    "1 unless a changed bot file was refused, and the one before it is in force.",
                    "short",
                    (gauge("last_bot_reload_success", "pod", "min"),),
                    most=1.0,
                    page="runbooks/StreamWorkerBotReloadFailed.md",
                ),
                Panel(
                    "Commands",
                    "Commands to the outside world, by name.",
                    "cps",
                    (rate("commands_total", "command"),),
                ),
            ),
        ),
    ),
)
