"""What senders send and how they are answered."""

from panels import ORANGE, RED, dashboard, graph, heatmap, row, steps, variable
from queries import OF, JOB, INSTANCE, rate, quantiles, share


def ingest():
    refused = "unavailable|internal"
    tenant = variable("tenant", "Tenant", 'label_values(otlp_limits_reached_total{job=~"$job"}, tenant)')
    total = rate("otlp_requests_total", "signal")
    return dashboard(
        "ingest",
        "Ingest",
        "What senders send and how they are answered. Tenants appear only where the configuration names them.",
        [JOB, INSTANCE, tenant],
        [
            row("Answers"),
            graph(
                "Requests by signal",
                "Export requests, by signal and transport.",
                [(rate("otlp_requests_total", "signal, transport"), "{{signal}} {{transport}}")],
                "reqps",
                stacked=True,
            ),
            graph(
                "Requests by answer",
                "ok and partial_success were accepted; resource_exhausted and unavailable are sent again by the exporter; invalid_argument must not be.",
                [(rate("otlp_requests_total", "status"), "{{status}}")],
                "reqps",
                stacked=True,
            ),
            graph(
                "Failed",
                "Share of requests answered UNAVAILABLE or INTERNAL.",
                [(share(rate("otlp_requests_total", "signal", f',status=~"{refused}"'), total), "{{signal}}")],
                "percentunit",
                limits=steps("transparent", (0.01, ORANGE), (0.1, RED)),
            ),
            graph(
                "Shed",
                "Share of requests that were told to come back later, for lack of memory or by a limit.",
                [(share(rate("otlp_requests_total", "signal", ',status="resource_exhausted"'), total), "{{signal}}")],
                "percentunit",
                limits=steps("transparent", (0.01, ORANGE), (0.25, RED)),
            ),
            graph(
                "Rejected items",
                "Items rejected out of requests that were otherwise accepted, by reason.",
                [(rate("otlp_rejected_items_total", "signal, reason"), "{{signal}} {{reason}}")],
                "cps",
                stacked=True,
            ),
            graph(
                "Tenants at their limits",
                "Requests refused, whole or in part, by tenant and limit. Tenants without a section in the configuration are together, without a name.",
                [(rate("otlp_limits_reached_total", "tenant, limit", ',tenant=~"$tenant"'), "{{tenant}} {{limit}}")],
                "reqps",
                stacked=True,
            ),
            row("Time to the acknowledgement"),
            heatmap(
                "All requests",
                "How long export requests take. On an object store commit.min_interval (250 ms) is part of it.",
                rate("otlp_request_duration_seconds_bucket", "le"),
            ),
            graph(
                "By signal",
                "Half and 99 of 100 are faster.",
                [
                    (f"histogram_quantile({q}, {rate('otlp_request_duration_seconds_bucket', 'signal, le')})", f"{{{{signal}}}} p{int(q * 100)}")
                    for q in (0.5, 0.99)
                ],
                "s",
                width=12,
            ),
            row("Volume"),
            graph(
                "Received",
                "Bytes of request bodies as they arrive, compressed or not.",
                [(rate("otlp_received_bytes_total", "signal, transport"), "{{signal}} {{transport}}")],
                "Bps",
                stacked=True,
            ),
            graph(
                "Rows", "Rows made durable and queryable, by dataset.", [(rate("otlp_rows_total", "dataset"), "{{dataset}}")], "rowsps", stacked=True
            ),
            graph("Rows by process", "Whether the load is spread.", [(rate("otlp_rows_total", "instance"), "{{instance}}")], "rowsps", stacked=True),
            row("Commits"),
            graph(
                "Time of commits",
                "From the start of a group commit to its acknowledgements.",
                quantiles("otlp_commit_duration_seconds"),
                "s",
                limits=steps("transparent", (1, ORANGE), (5, RED)),
            ),
            graph(
                "Phases, p99",
                "Which part of a commit is slow: encoding (CPU), put (object store) or catalog (database).",
                [(f"histogram_quantile(0.99, {rate('otlp_commit_phase_seconds_bucket', 'phase, le')})", "{{phase}}")],
                "s",
            ),
            graph(
                "Commits and rows in each",
                "More rows in a commit cost less per row.",
                [
                    (rate("otlp_commit_duration_seconds_count", "instance"), "{{instance}} commits/s"),
                    (
                        share(f"sum({rate('otlp_rows_total', 'instance')})", f"sum({rate('otlp_commit_duration_seconds_count', 'instance')})"),
                        "rows in a commit",
                    ),
                ],
            ),
            row("Room"),
            graph(
                "Received, not yet committed",
                "Bytes between their arrival and their commit.",
                [(f"otlp_pending_bytes{{{OF}}}", "{{instance}}")],
                "bytes",
                stacked=True,
            ),
            graph(
                "Memory reserved for ingest",
                "Past ingest.max_pending_bytes, a quarter of memory.limit unless set, senders are told to retry.",
                [(f'otlp_memory_reserved_bytes{{{OF},of="ingest"}}', "{{instance}}")],
                "bytes",
            ),
            graph(
                "Refusing for lack of memory",
                "1 while a process holds more memory than it may and refuses new work.",
                [(f"otlp_memory_pressed{{{OF}}}", "{{instance}}")],
                top=1,
            ),
        ],
    )
