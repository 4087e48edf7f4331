"""Who asks, how long it takes, how it ends."""

from panels import ORANGE, RED, dashboard, graph, heatmap, row, steps
from queries import OF, JOB, INSTANCE, rate, quantiles, known, share


def query():
    total = rate("otlp_queries_total", "api")
    return dashboard(
        "query",
        "Query",
        "Who asks, how long it takes, how it ends, and what it costs.",
        [JOB, INSTANCE],
        [
            row("Queries"),
            graph(
                "By API and end",
                "ok: whole result. invalid: the query is wrong. limit, timeout: it reached one. rejected: too many at once. cancelled: the caller left. error: ours.",
                [(rate("otlp_queries_total", "api, status"), "{{api}} {{status}}")],
                "reqps",
                stacked=True,
            ),
            graph(
                "Failed",
                "Share of queries that end with an error of ours or a timeout.",
                [(share(rate("otlp_queries_total", "api", ',status=~"error|timeout"'), total), "{{api}}")],
                "percentunit",
                limits=steps("transparent", (0.05, RED)),
            ),
            graph(
                "Turned away",
                "Share of queries that are rejected or reach a limit.",
                [(share(rate("otlp_queries_total", "api", ',status=~"rejected|limit"'), total), "{{api}}")],
                "percentunit",
                limits=steps("transparent", (0.1, ORANGE)),
            ),
            row("Time"),
            heatmap("All queries", "How long queries take.", rate("otlp_query_duration_seconds_bucket", "le")),
            graph(
                "By API",
                "Half, 19 of 20 and 99 of 100 are faster.",
                [
                    (f"histogram_quantile({q}, {rate('otlp_query_duration_seconds_bucket', 'api, le')})", f"{{{{api}}}} p{int(q * 100)}")
                    for q in (0.5, 0.95, 0.99)
                ],
                "s",
                width=12,
            ),
            row("Caches"),
            graph(
                "Hits",
                "Share of lookups answered. slices: decoded fresh data; footers: metadata of parts; ranges: bytes of parts.",
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
            graph(
                "Lookups",
                "By cache.",
                [(f"{rate('otlp_cache_hits_total', 'cache')} + {rate('otlp_cache_misses_total', 'cache')}", "{{cache}}")],
                "ops",
                stacked=True,
            ),
            graph(
                "Size",
                "Bytes that the caches hold, of all processes.",
                [(f"sum by (cache) (otlp_cache_bytes{{{OF}}})", "{{cache}}")],
                "bytes",
                stacked=True,
            ),
            row("What they wait for"),
            graph(
                "Catalog snapshots",
                "Each query begins with one.",
                quantiles("otlp_catalog_operation_seconds", more=',operation="snapshot"', which=(0.5, 0.99)),
                "s",
            ),
            graph(
                "Reads from the store",
                "GET requests, of queries and compactions.",
                [(rate("otlp_store_operations_total", "status", ',operation="get"'), "{{status}}")],
                "reqps",
                stacked=True,
            ),
            graph("Time of reads", "GET requests.", quantiles("otlp_store_operation_seconds", more=',operation="get"', which=(0.5, 0.99)), "s"),
            row("Memory"),
            graph(
                "Reserved",
                "By use, of all processes. Queries get query.max_memory, a quarter of memory.limit unless set.",
                [(f"sum by (of) (otlp_memory_reserved_bytes{{{OF}}})", "{{of}}")],
                "bytes",
                stacked=True,
                width=12,
            ),
            graph(
                "Slices that wait for compaction",
                "The more there are, the more a query has to open.",
                [(known("otlp_backlog_slices"), "{{dataset}}")],
                stacked=True,
                width=12,
            ),
        ],
    )
