"""The dashboard of what carries it all: commits, group, dead letters, clients."""

from tools.watching.panels import Dashboard, Form, Panel, Query, Row, gauge, quantile, quantiles, rate

KAFKA = Dashboard(
    "stream-worker-kafka",
    "Stream worker / Kafka and state",
    "Transactions, the group, local state, dead letters and the clients below.",
    (
        Row(
            "Commits",
            (
                Panel(
                    "Transactions",
                    "By how they ended. A rebalance aborts some; others should be rare.",
                    "cps",
                    (rate("commits_total", "outcome"),),
                    page="runbooks/StreamWorkerCommitAborts.md",
                ),
                Panel(
                    "Time of a transaction",
                    "From begin to committed.",
                    "s",
                    quantiles("commit_seconds", 0.5, 0.95, 0.99),
                ),
                Panel(
                    "Records of a transaction",
                    "Replies, metrics, analysis, states and ledgers.",
                    "short",
                    quantiles("transaction_records", 0.5, 0.95),
                ),
                Panel(
                    "Waiting for the next transaction",
                    "Finished turns and events that are not committed yet.",
                    "short",
                    (gauge("uncommitted_settlements", "pod"),),
                ),
                Panel(
                    "Time between polls",
                    "Above the limit the group takes the partitions away.",
                    "s",
                    (
                        quantile(0.99, "poll_interval_seconds", "p99 {{pod}}", "pod"),
                        gauge("max_poll_interval_seconds", "", "min", legend="limit"),
                    ),
                ),
            ),
        ),
        Row(
            "Group",
            (
                Panel(
                    "Partitions that moved",
                    "Taken, released, and lost to others.",
                    "cps",
                    (rate("rebalances_total", "kind"),),
                    page="runbooks/StreamWorkerRebalancing.md",
                ),
                Panel(
                    "Partitions by what they do",
                    "Assigned ones; of those being restored, paused for back-pressure, refused until a person looked.",
                    "short",
                    (
                        gauge("assigned_partitions", "", legend="assigned"),
                        gauge("restoring_partitions", "", legend="restoring"),
                        gauge("paused_partitions", "", legend="paused"),
                        gauge("refused_partitions", "", legend="refused"),
                    ),
                ),
                Panel(
                    "Time to take a partition",
                    "From the assignment until its records are read: mostly reading the changelog.",
                    "s",
                    quantiles("restore_seconds", 0.5, 0.95),
                    page="runbooks/StreamWorkerRestoring.md",
                ),
                Panel(
                    "Changelog to be read",
                    "Offsets that restores have still before them.",
                    "short",
                    (gauge("changelog_lag", "pod"),),
                    page="runbooks/StreamWorkerRestoring.md",
                ),
                Panel("Local state", "Estimated size of the local copies.", "bytes", (gauge("state_bytes", "pod"),)),
                Panel(
                    "Silence of the threads",
                    "Seconds since each thread's last sign of life; above 30 the probe fails.",
                    "s",
                    (
                        Query(
                            "time() - min by (pod, loop) (stream_worker_loop_heartbeat_timestamp_seconds{$s})",
                            "{{pod}} {{loop}}",
                        ),
                    ),
                    page="runbooks/StreamWorkerLoopStalled.md",
                ),
            ),
        ),
        Row(
            "Dead letters",
            (
                Panel(
                    "Dead letters by reason",
                    "Events that could not be answered.",
                    "cps",
                    (rate("dead_letters_total", "reason"),),
                    Form.STACKED,
                    page="runbooks/StreamWorkerDeadLettering.md",
                ),
                Panel(
                    "Share of all events",
                    "Dead letters of all events that were settled.",
                    "percentunit",
                    (
                        Query(
                            "sum(rate(stream_worker_dead_letters_total{$s}[$__rate_interval]))"
                            " / sum(rate(stream_worker_events_total{$s}[$__rate_interval]))",
                            "dead letters",
                        ),
                    ),
                    page="runbooks/StreamWorkerDeadLettering.md",
                ),
            ),
        ),
        Row(
            "Client",
            (
                Panel(
                    "Round trip to brokers",
                    "The slowest broker's mean, by client.",
                    "s",
                    (gauge("kafka_client_round_trip_seconds", "client", "max"),),
                ),
                Panel(
                    "Records queued in clients",
                    "Waiting to be sent, or fetched ahead.",
                    "short",
                    (gauge("kafka_client_queued_messages", "client"),),
                ),
                Panel(
                    "Throttling",
                    "How long brokers make clients wait because of quotas.",
                    "s",
                    (gauge("kafka_client_throttle_seconds", "client", "max"),),
                ),
                Panel(
                    "Connections and errors",
                    "New connections to brokers, and requests that failed or timed out.",
                    "cps",
                    (
                        rate("kafka_client_connections_total", "client", legend="connections {{client}}"),
                        rate("kafka_client_errors_total", "client", legend="errors {{client}}"),
                    ),
                ),
                Panel(
                    "Ends and new beginnings",
                    "Clients that were replaced, and processes that ended by an error, in an hour.",
                    "short",
                    (
                        Query("sum(increase(stream_worker_clients_replaced_total{$s}[1h]))", "clients replaced"),
                        Query(
                            "sum by (code) (increase(stream_worker_fatal_errors_total{$s}[1h]))",
                            "ended by {{code}}",
                        ),
                    ),
                    page="reference/errors.md",
                ),
                Panel(
                    "Client certificate",
                    "Time until it ends.",
                    "s",
                    (
                        Query(
                            "min by (pod) (stream_worker_certificate_expiry_timestamp_seconds{$s}) - time()", "{{pod}}"
                        ),
                    ),
                    page="runbooks/StreamWorkerCertificateExpiring.md",
                ),
                Panel("Log lines", "By level.", "cps", (rate("log_messages_total", "level"),)),
            ),
        ),
    ),
)
