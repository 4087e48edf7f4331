"""Is the platform well, what comes in, what is kept, who asks."""

from panels import GREEN, ORANGE, RED, dashboard, graph, row, stat, steps
from queries import OF, JOB, INSTANCE, UP_OR_DOWN, rate, quantiles, known, share, age


def overview():
    errors = rate("otlp_store_operations_total", "job", ',status=~"error|timeout"')
    return dashboard(
        "overview",
        "Overview",
        "Is the platform well, what comes in, what is kept, who asks.",
        [JOB, INSTANCE],
        [
            row("Is it well"),
            stat("Processes up", "Processes that answer scrapes.", [(f"sum(up{{{OF}}})",)], thresholds=steps(RED, (1, GREEN)), width=3),
            stat("Catalog", "Whether every process reaches its catalog.", [(f"min(otlp_catalog_up{{{OF}}})",)], states=UP_OR_DOWN, width=3),
            stat(
                "Object store errors",
                "Share of requests to the store that fail after their retries.",
                [(share(f"sum({errors})", f"sum({rate('otlp_store_operations_total', 'job')})"),)],
                "percentunit",
                steps(GREEN, (0.001, ORANGE), (0.05, RED)),
                width=3,
                decimals=1,
            ),
            stat(
                "Redis",
                "Whether every process shares its limits through Redis. None without redis.url.",
                [(f"min(otlp_limits_redis_up{{{OF}}})",)],
                states=UP_OR_DOWN,
                width=3,
            ),
            stat(
                "Alerts",
                "Alerts of otlp-rules.yml that fire now.",
                [('count(ALERTS{alertname=~"Otlp.+",alertstate="firing"}) or vector(0)',)],
                thresholds=steps(GREEN, (1, RED)),
                width=3,
            ),
            stat(
                "Oldest slice",
                "How long the oldest slice has waited for compaction. Due after a minute.",
                [(f"max({age('otlp_backlog_oldest_timestamp_seconds')})",)],
                "s",
                steps(GREEN, (600, ORANGE), (3600, RED)),
                width=3,
                decimals=0,
            ),
            stat(
                "Retention proven",
                "Age of the oldest proof that what is past its retention is gone. None where nothing has a retention.",
                [(f"max({age('otlp_retention_proof_timestamp_seconds')})",)],
                "s",
                steps(GREEN, (7200, ORANGE), (93600, RED)),
                width=3,
                decimals=0,
            ),
            stat(
                "Version",
                "Versions that run; two at a time only while an upgrade rolls out.",
                [(f"count by (version) (otlp_build_info{{{OF}}})", "{{version}}")],
                show="name",
                width=3,
            ),
            row("Objectives"),
            graph(
                "Burn rate",
                "Bad events of the last hour, relative to what the objective allows. 1 uses up the budget of 30 days in 30 days.",
                [('slo:sli_error:ratio_rate1h{job=~"$job"} / on (slo) group_left () slo:error_budget:ratio', "{{slo}}")],
                limits=steps("transparent", (1, ORANGE), (14.4, RED)),
                width=12,
            ),
            graph(
                "Bad events, 3 days",
                "Share of bad events by objective.",
                [('slo:sli_error:ratio_rate3d{job=~"$job"}', "{{slo}}")],
                "percentunit",
                width=12,
            ),
            row("In"),
            graph(
                "Requests",
                "OTLP export requests by how they were answered.",
                [(rate("otlp_requests_total", "status"), "{{status}}")],
                "reqps",
                stacked=True,
            ),
            graph("Rows", "Rows made durable and queryable.", [(rate("otlp_rows_total", "dataset"), "{{dataset}}")], "rowsps", stacked=True),
            graph("Time to the acknowledgement", "From an export request to its answer.", quantiles("otlp_request_duration_seconds"), "s"),
            row("Kept"),
            graph(
                "Stored",
                "Bytes in the object store by dataset, parts and fresh slices.",
                [(f"{known('otlp_part_bytes')} + {known('otlp_backlog_bytes')}", "{{dataset}}")],
                "bytes",
                stacked=True,
            ),
            graph(
                "Backlog",
                "Rows that wait for compaction. Queries see them, more slowly than parts.",
                [(known("otlp_backlog_rows"), "{{dataset}}")],
                stacked=True,
            ),
            graph(
                "Compaction", "Rows written into parts.", [(rate("otlp_compaction_rows_total", "instance"), "{{instance}}")], "rowsps", stacked=True
            ),
            row("Out"),
            graph(
                "Queries", "Queries by how they ended.", [(rate("otlp_queries_total", "api, status"), "{{api}} {{status}}")], "reqps", stacked=True
            ),
            graph(
                "Time of queries",
                "By API, 19 of 20 are faster.",
                [(f"histogram_quantile(0.95, {rate('otlp_query_duration_seconds_bucket', 'api, le')})", "{{api}} p95")],
                "s",
            ),
            graph(
                "Cache hits",
                "Share of lookups that the caches answer.",
                [
                    (
                        share(
                            rate("otlp_cache_hits_total", "cache"),
                            f"{rate('otlp_cache_hits_total', 'cache')} + {rate('otlp_cache_misses_total', 'cache')}",
                        ),
                        "{{cache}}",
                    )
                ],
                "percentunit",
                top=1,
            ),
            row("Processes"),
            graph(
                "Memory",
                "What each process holds, and what it may plan with.",
                [(f"otlp_memory_resident_bytes{{{OF}}}", "{{instance}}"), (f"max(otlp_memory_limit_bytes{{{OF}}})", "memory.limit")],
                "bytes",
                width=12,
            ),
            graph("CPU", "Cores in use.", [(rate("process_cpu_seconds_total", "instance"), "{{instance}}")], "cores", stacked=True, width=12),
        ],
    )
