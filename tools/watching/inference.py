"""The dashboard of the models: speed, cache, stages."""

from tools.watching.panels import Dashboard, Form, Panel, Query, Row, gauge, quantile, quantiles, rate

INFERENCE = Dashboard(
    "stream-worker-inference",
    "Stream worker / Inference",
    "How fast the models are, what they reuse, and where a turn's time goes.",
    (
        Row(
            "Speed",
            (
                Panel(
                    "Time to first token",
                    "From the engine's acceptance to the first token.",
                    "s",
                    quantiles("time_to_first_token_seconds", 0.5, 0.95, by="model", labels='model=~"$model"'),
                ),
                Panel(
                    "Time per output token",
                    "Between the tokens of one reply.",
                    "s",
                    quantiles("time_per_output_token_seconds", 0.5, 0.95, by="model", labels='model=~"$model"'),
                ),
                Panel(
                    "Tokens",
                    "Tokens of prompts, those of them that were cached, and generated ones.",
                    "cps",
                    (
                        rate("prompt_tokens_total", "", legend="prompt"),
                        rate("prompt_tokens_cached_total", "", legend="cached"),
                        rate("generated_tokens_total", "", legend="generated"),
                    ),
                ),
                Panel(
                    "Generated tokens by worker",
                    "How evenly the work is spread: a partition cannot leave a hot worker.",
                    "cps",
                    (rate("generated_tokens_total", "pod"),),
                ),
                Panel(
                    "Running batch",
                    "Turns that decode side by side, looked at once a second while there are any.",
                    "short",
                    (
                        Query(
                            'sum by (le) (increase(stream_worker_batch_size_bucket{$s,stage="generate"}'
                            "[$__rate_interval]))",
                            "{{le}}",
                        ),
                    ),
                    Form.HEATMAP,
                ),
                Panel(
                    "Encoder's micro-batch",
                    "Texts in the encoder's pass of each replied turn.",
                    "short",
                    quantiles("batch_size", 0.5, 0.95, by="stage"),
                ),
            ),
        ),
        Row(
            "Cache",
            (
                Panel(
                    "Prefix hits",
                    "Share of the prompts' tokens that were not computed again.",
                    "percentunit",
                    (
                        Query(
                            "sum by (pod) (rate(stream_worker_prompt_tokens_cached_total{$s}[$__rate_interval]))"
                            " / sum by (pod) (rate(stream_worker_prompt_tokens_total{$s}[$__rate_interval]))",
                            "{{pod}}",
                        ),
                    ),
                    most=1.0,
                    page="runbooks/StreamWorkerPrefixCacheCold.md",
                ),
                Panel(
                    "Memory for keys and values",
                    "Used share of what is reserved.",
                    "percentunit",
                    (gauge("kv_cache_usage_ratio", "pod", "max"),),
                    most=1.0,
                    page="runbooks/StreamWorkerKVCacheFull.md",
                ),
                Panel(
                    "Memory of the device",
                    "The GPU's, or on a processor the process's own: used, and what there is. A model server's is "
                    "its own matter.",
                    "bytes",
                    (
                        Query('max by (pod) (stream_worker_device_memory_bytes{$s, kind="used"})', "{{pod}} used"),
                        Query('min by (pod) (stream_worker_device_memory_bytes{$s, kind="total"})', "{{pod}} total"),
                    ),
                    page="how-to/size-a-gpu.md",
                ),
                Panel(
                    "Given back",
                    "Conversations whose keys and values were given back, by tier: their next turn computes them anew.",
                    "cps",
                    (rate("kv_evictions_total", "tier"),),
                ),
                Panel(
                    "Slower ways taken",
                    "Faster ways to run the model that could not be taken since the start, and why: see the log.",
                    "short",
                    (gauge("engine_fallbacks_total", "reason", "max"),),
                ),
                Panel(
                    "Engines that are away",
                    "1 while a worker holds its turns because its engine does not answer.",
                    "short",
                    (gauge("engine_breaker_open", "pod", "max"),),
                ),
            ),
        ),
        Row(
            "Stages",
            (
                Panel(
                    "Time in stages, p95",
                    "Where the time of slow turns goes.",
                    "s",
                    (quantile(0.95, "stage_seconds", "{{stage}}", "stage"),),
                    Form.STACKED,
                ),
                Panel(
                    "Time in queues, p95",
                    "Mailbox: behind earlier turns of the conversation, or for room. Engine: for the running batch.",
                    "s",
                    (quantile(0.95, "queue_seconds", "{{queue}}", "queue"),),
                ),
                Panel(
                    "How replies end",
                    "Replies by why their text ended where it did.",
                    "cps",
                    (rate("replies_total", "finish_reason", 'model=~"$model"'),),
                    Form.STACKED,
                    page="reference/outcomes.md",
                ),
                Panel(
                    "Failed attempts",
                    "Attempts of turns that failed and were counted against their events.",
                    "cps",
                    (rate("attempts_total", "reason"),),
                ),
                Panel(
                    "Dropped",
                    "Previews that found no room, and results of attempts that were over. Replies are not affected.",
                    "cps",
                    (
                        rate("deltas_dropped_total", "", legend="deltas"),
                        rate("late_results_total", "", legend="late results"),
                    ),
                ),
            ),
        ),
    ),
)
