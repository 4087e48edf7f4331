"""What is kept, compacted and deleted, and the services below."""

from panels import ORANGE, RED, dashboard, graph, heatmap, row, steps
from queries import OF, JOB, INSTANCE, rate, known, age


def storage():
    return dashboard(
        "storage",
        "Storage",
        "What is kept, how it is compacted and deleted, and how the object store and the catalog do.",
        [JOB, INSTANCE],
        [
            row("Kept"),
            graph("Bytes in parts", "Compressed, by dataset.", [(known("otlp_part_bytes"), "{{dataset}}")], "bytes", stacked=True, width=6),
            graph("Rows in parts", "By dataset.", [(known("otlp_part_rows"), "{{dataset}}")], stacked=True, width=6),
            graph(
                "Bytes a row",
                "What a row costs in parts.",
                [(f"{known('otlp_part_bytes')} / ({known('otlp_part_rows')} > 0)", "{{dataset}}")],
                "bytes",
                width=6,
            ),
            graph(
                "Parts",
                "Objects that a query over everything opens. Compaction merges small ones.",
                [(known("otlp_parts"), "{{dataset}}")],
                stacked=True,
                width=6,
            ),
            row("Backlog"),
            graph(
                "Rows that wait",
                "For compaction. Queries see them all the same.",
                [(known("otlp_backlog_rows"), "{{dataset}}")],
                stacked=True,
                width=6,
            ),
            graph(
                "Slices that wait", "A query opens each of those it needs.", [(known("otlp_backlog_slices"), "{{dataset}}")], stacked=True, width=6
            ),
            graph(
                "Oldest slice",
                "Age. Slices are due after compaction.max_slice_age, a minute unless set.",
                [(age("otlp_backlog_oldest_timestamp_seconds"), "{{dataset}}")],
                "s",
                limits=steps("transparent", (900, ORANGE), (14400, RED)),
                width=6,
            ),
            graph(
                "Worth of ingest",
                "How long ingest took for the rows that wait. Growing means that compaction does not keep up.",
                [('job:otlp_backlog:ingest_seconds{job=~"$job"}', "{{dataset}}")],
                "s",
                width=6,
            ),
            row("Compaction"),
            graph(
                "Runs and failures",
                "Compactions that succeeded, and rounds that failed.",
                [
                    (f"sum({rate('otlp_compaction_runs_total', 'instance')})", "runs/s"),
                    (f"sum({rate('otlp_compaction_failures_total', 'instance')})", "failures/s"),
                ],
                "cps",
                width=6,
            ),
            heatmap("Time of compactions", "How long each takes.", rate("otlp_compaction_duration_seconds_bucket", "le"), width=6),
            graph(
                "Bytes",
                "Read from slices and parts, and written as parts.",
                [
                    (f"sum({rate('otlp_compaction_input_bytes_total', 'instance')})", "in"),
                    (f"sum({rate('otlp_compaction_output_bytes_total', 'instance')})", "out"),
                ],
                "Bps",
                width=6,
            ),
            graph(
                "Rows and duplicates",
                "Rows written, and equal rows left out.",
                [
                    (f"sum({rate('otlp_compaction_rows_total', 'instance')})", "written"),
                    (rate("otlp_compaction_duplicates_total", "dataset"), "duplicates {{dataset}}"),
                ],
                "rowsps",
                width=6,
            ),
            row("Retention, deletion, garbage"),
            graph(
                "Due and still there",
                "Bytes older than their retention that the store still has. They wait for gc.grace; they must not pile up.",
                [(known("otlp_retention_bytes_due"), "{{dataset}}")],
                "bytes",
                stacked=True,
                width=6,
            ),
            graph(
                "Age of the proof",
                "When a scan last found nothing past its retention.",
                [(age("otlp_retention_proof_timestamp_seconds"), "{{dataset}}")],
                "s",
                limits=steps("transparent", (7200, ORANGE), (93600, RED)),
                width=6,
            ),
            graph(
                "Rows deleted",
                "By retention, and because somebody asked.",
                [
                    (rate("otlp_retention_rows_deleted_total", "dataset"), "retention {{dataset}}"),
                    (rate("otlp_deletion_rows_total", "dataset"), "asked for {{dataset}}"),
                ],
                "rowsps",
                width=6,
            ),
            graph(
                "Bytes gone from the store",
                "Past their retention, and all garbage: what compaction replaced is most of it.",
                [
                    (f"sum({rate('otlp_retention_bytes_deleted_total', 'instance')})", "past retention"),
                    (f"sum({rate('otlp_gc_bytes_deleted_total', 'instance')})", "garbage"),
                ],
                "Bps",
                width=6,
            ),
            row("Object store"),
            graph(
                "Requests",
                "What you pay for, by operation.",
                [(rate("otlp_store_operations_total", "operation"), "{{operation}}")],
                "reqps",
                stacked=True,
                width=6,
            ),
            graph(
                "Failures",
                "After retries. not_found is no failure: it is how absence is noticed.",
                [(rate("otlp_store_operations_total", "operation, status", ',status!~"ok|not_found"'), "{{operation}} {{status}}")],
                "reqps",
                width=6,
            ),
            graph(
                "Time, p99",
                "By operation, retries included.",
                [(f"histogram_quantile(0.99, {rate('otlp_store_operation_seconds_bucket', 'operation, le')})", "{{operation}}")],
                "s",
                width=6,
            ),
            graph("Objects deleted", "By garbage collection.", [(rate("otlp_gc_objects_deleted_total", "instance"), "{{instance}}")], "cps", width=6),
            row("Catalog"),
            graph(
                "Reachable",
                "Whether each process had an answer from its catalog when it last asked.",
                [(f"otlp_catalog_up{{{OF}}}", "{{instance}}")],
                top=1,
            ),
            graph(
                "Operations",
                "commit_segment for each commit, replace for each compaction, snapshot for each query.",
                [(rate("otlp_catalog_operation_seconds_count", "operation"), "{{operation}}")],
                "ops",
                stacked=True,
            ),
            graph(
                "Time, p99",
                "By operation.",
                [(f"histogram_quantile(0.99, {rate('otlp_catalog_operation_seconds_bucket', 'operation, le')})", "{{operation}}")],
                "s",
            ),
        ],
    )
