#!/usr/bin/env python3
"""Writes monitoring/dashboards/*.json. Change a dashboard here, run this file, commit both; a test compares them.

Every number has its unit, every panel says what it means. What the catalog knows (backlog, parts, retention) is the same in every
process and is taken with max; what processes do themselves is summed.
"""

import json
from pathlib import Path

from panels import GREEN, ORANGE, RED, dashboard, graph, heatmap, row, stat, steps, table, variable

OF = 'job=~"$job",instance=~"$instance"'
JOB = variable("job", "Service", "label_values(otlp_build_info, job)")
INSTANCE = variable("instance", "Instance", 'label_values(otlp_build_info{job=~"$job"}, instance)')
UP_OR_DOWN = {1: ("up", GREEN), 0: ("down", RED)}


def rate(metric, by, more=""):
    """Per second, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{OF}{more}}}[$__rate_interval]))"


def quantiles(metric, by="", more="", which=(0.5, 0.95, 0.99), legend=""):
    """Queries for quantiles of a histogram."""
    labels = f"{by}, le" if by else "le"
    prefix = f"{legend} " if legend else ""
    return [(f"histogram_quantile({q}, {rate(metric + '_bucket', labels, more)})", f"{prefix}p{int(q * 100)}") for q in which]


def known(metric, by="dataset"):
    """Of what every process says of the catalog's content."""
    return f"max by ({by}) ({metric}{{{OF}}})"


def share(part, whole):
    return f"({part}) / ({whole})"


def age(metric):
    return f"time() - {known(metric)}"


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
            stat("Object store errors", "Share of requests to the store that fail after their retries.", [(share(f"sum({errors})", f"sum({rate('otlp_store_operations_total', 'job')})"),)], "percentunit", steps(GREEN, (0.001, ORANGE), (0.05, RED)), width=3, decimals=1),
            stat("Redis", "Whether every process shares its limits through Redis. None without redis.url.", [(f"min(otlp_limits_redis_up{{{OF}}})",)], states=UP_OR_DOWN, width=3),
            stat("Alerts", "Alerts of otlp-rules.yml that fire now.", [('count(ALERTS{alertname=~"Otlp.+",alertstate="firing"}) or vector(0)',)], thresholds=steps(GREEN, (1, RED)), width=3),
            stat("Oldest slice", "How long the oldest slice has waited for compaction. Due after a minute.", [(f"max({age('otlp_backlog_oldest_timestamp_seconds')})",)], "s", steps(GREEN, (600, ORANGE), (3600, RED)), width=3, decimals=0),
            stat("Retention proven", "Age of the oldest proof that what is past its retention is gone. None where nothing has a retention.", [(f"max({age('otlp_retention_proof_timestamp_seconds')})",)], "s", steps(GREEN, (7200, ORANGE), (93600, RED)), width=3, decimals=0),
            stat("Version", "Versions that run; two at a time only while an upgrade rolls out.", [(f"count by (version) (otlp_build_info{{{OF}}})", "{{version}}")], show="name", width=3),
            row("Objectives"),
            graph("Burn rate", "Bad events of the last hour, relative to what the objective allows. 1 uses up the budget of 30 days in 30 days.", [('slo:sli_error:ratio_rate1h{job=~"$job"} / on (slo) group_left () slo:error_budget:ratio', "{{slo}}")], limits=steps("transparent", (1, ORANGE), (14.4, RED)), width=12),
            graph("Bad events, 3 days", "Share of bad events by objective.", [('slo:sli_error:ratio_rate3d{job=~"$job"}', "{{slo}}")], "percentunit", width=12),
            row("In"),
            graph("Requests", "OTLP export requests by how they were answered.", [(rate("otlp_requests_total", "status"), "{{status}}")], "reqps", stacked=True),
            graph("Rows", "Rows made durable and queryable.", [(rate("otlp_rows_total", "dataset"), "{{dataset}}")], "rowsps", stacked=True),
            graph("Time to the acknowledgement", "From an export request to its answer.", quantiles("otlp_request_duration_seconds"), "s"),
            row("Kept"),
            graph("Stored", "Bytes in the object store by dataset, parts and fresh slices.", [(f"{known('otlp_part_bytes')} + {known('otlp_backlog_bytes')}", "{{dataset}}")], "bytes", stacked=True),
            graph("Backlog", "Rows that wait for compaction. Queries see them, more slowly than parts.", [(known("otlp_backlog_rows"), "{{dataset}}")], stacked=True),
            graph("Compaction", "Rows written into parts.", [(rate("otlp_compaction_rows_total", "instance"), "{{instance}}")], "rowsps", stacked=True),
            row("Out"),
            graph("Queries", "Queries by how they ended.", [(rate("otlp_queries_total", "api, status"), "{{api}} {{status}}")], "reqps", stacked=True),
            graph("Time of queries", "By API, 19 of 20 are faster.", [(f"histogram_quantile(0.95, {rate('otlp_query_duration_seconds_bucket', 'api, le')})", "{{api}} p95")], "s"),
            graph("Cache hits", "Share of lookups that the caches answer.", [(share(rate("otlp_cache_hits_total", "cache"), f"{rate('otlp_cache_hits_total', 'cache')} + {rate('otlp_cache_misses_total', 'cache')}"), "{{cache}}")], "percentunit", top=1),
            row("Processes"),
            graph("Memory", "What each process holds, and what it may plan with.", [(f"otlp_memory_resident_bytes{{{OF}}}", "{{instance}}"), (f"max(otlp_memory_limit_bytes{{{OF}}})", "memory.limit")], "bytes", width=12),
            graph("CPU", "Cores in use.", [(rate("process_cpu_seconds_total", "instance"), "{{instance}}")], "cores", stacked=True, width=12),
        ],
    )


def ingest():
    refused = 'unavailable|internal'
    tenant = variable("tenant", "Tenant", 'label_values(otlp_limits_reached_total{job=~"$job"}, tenant)')
    total = rate("otlp_requests_total", "signal")
    return dashboard(
        "ingest",
        "Ingest",
        "What senders send and how they are answered. Tenants appear only where the configuration names them.",
        [JOB, INSTANCE, tenant],
        [
            row("Answers"),
            graph("Requests by signal", "Export requests, by signal and transport.", [(rate("otlp_requests_total", "signal, transport"), "{{signal}} {{transport}}")], "reqps", stacked=True),
            graph("Requests by answer", "ok and partial_success were accepted; resource_exhausted and unavailable are sent again by the exporter; invalid_argument must not be.", [(rate("otlp_requests_total", "status"), "{{status}}")], "reqps", stacked=True),
            graph("Failed", "Share of requests answered UNAVAILABLE or INTERNAL.", [(share(rate("otlp_requests_total", "signal", f',status=~"{refused}"'), total), "{{signal}}")], "percentunit", limits=steps("transparent", (0.01, ORANGE), (0.1, RED))),
            graph("Shed", "Share of requests that were told to come back later, for lack of memory or by a limit.", [(share(rate("otlp_requests_total", "signal", ',status="resource_exhausted"'), total), "{{signal}}")], "percentunit", limits=steps("transparent", (0.01, ORANGE), (0.25, RED))),
            graph("Rejected items", "Items rejected out of requests that were otherwise accepted, by reason.", [(rate("otlp_rejected_items_total", "signal, reason"), "{{signal}} {{reason}}")], "cps", stacked=True),
            graph("Tenants at their limits", "Requests refused, whole or in part, by tenant and limit. Tenants without a section in the configuration are together, without a name.", [(rate("otlp_limits_reached_total", "tenant, limit", ',tenant=~"$tenant"'), "{{tenant}} {{limit}}")], "reqps", stacked=True),
            row("Time to the acknowledgement"),
            heatmap("All requests", "How long export requests take. On an object store commit.min_interval (250 ms) is part of it.", rate("otlp_request_duration_seconds_bucket", "le")),
            graph("By signal", "Half and 99 of 100 are faster.", [(f"histogram_quantile({q}, {rate('otlp_request_duration_seconds_bucket', 'signal, le')})", f"{{{{signal}}}} p{int(q * 100)}") for q in (0.5, 0.99)], "s", width=12),
            row("Volume"),
            graph("Received", "Bytes of request bodies as they arrive, compressed or not.", [(rate("otlp_received_bytes_total", "signal, transport"), "{{signal}} {{transport}}")], "Bps", stacked=True),
            graph("Rows", "Rows made durable and queryable, by dataset.", [(rate("otlp_rows_total", "dataset"), "{{dataset}}")], "rowsps", stacked=True),
            graph("Rows by process", "Whether the load is spread.", [(rate("otlp_rows_total", "instance"), "{{instance}}")], "rowsps", stacked=True),
            row("Commits"),
            graph("Time of commits", "From the start of a group commit to its acknowledgements.", quantiles("otlp_commit_duration_seconds"), "s", limits=steps("transparent", (1, ORANGE), (5, RED))),
            graph("Phases, p99", "Which part of a commit is slow: encoding (CPU), put (object store) or catalog (database).", [(f"histogram_quantile(0.99, {rate('otlp_commit_phase_seconds_bucket', 'phase, le')})", "{{phase}}")], "s"),
            graph("Commits and rows in each", "More rows in a commit cost less per row.", [(rate("otlp_commit_duration_seconds_count", "instance"), "{{instance}} commits/s"), (share(f"sum({rate('otlp_rows_total', 'instance')})", f"sum({rate('otlp_commit_duration_seconds_count', 'instance')})"), "rows in a commit")]),
            row("Room"),
            graph("Received, not yet committed", "Bytes between their arrival and their commit.", [(f"otlp_pending_bytes{{{OF}}}", "{{instance}}")], "bytes", stacked=True),
            graph("Memory reserved for ingest", "Past ingest.max_pending_bytes, a quarter of memory.limit unless set, senders are told to retry.", [(f'otlp_memory_reserved_bytes{{{OF},of="ingest"}}', "{{instance}}")], "bytes"),
            graph("Refusing for lack of memory", "1 while a process holds more memory than it may and refuses new work.", [(f"otlp_memory_pressed{{{OF}}}", "{{instance}}")], top=1),
        ],
    )


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
            graph("Bytes a row", "What a row costs in parts.", [(f"{known('otlp_part_bytes')} / ({known('otlp_part_rows')} > 0)", "{{dataset}}")], "bytes", width=6),
            graph("Parts", "Objects that a query over everything opens. Compaction merges small ones.", [(known("otlp_parts"), "{{dataset}}")], stacked=True, width=6),
            row("Backlog"),
            graph("Rows that wait", "For compaction. Queries see them all the same.", [(known("otlp_backlog_rows"), "{{dataset}}")], stacked=True, width=6),
            graph("Slices that wait", "A query opens each of those it needs.", [(known("otlp_backlog_slices"), "{{dataset}}")], stacked=True, width=6),
            graph("Oldest slice", "Age. Slices are due after compaction.max_slice_age, a minute unless set.", [(age("otlp_backlog_oldest_timestamp_seconds"), "{{dataset}}")], "s", limits=steps("transparent", (900, ORANGE), (14400, RED)), width=6),
            graph("Worth of ingest", "How long ingest took for the rows that wait. Growing means that compaction does not keep up.", [('job:otlp_backlog:ingest_seconds{job=~"$job"}', "{{dataset}}")], "s", width=6),
            row("Compaction"),
            graph("Runs and failures", "Compactions that succeeded, and rounds that failed.", [(f"sum({rate('otlp_compaction_runs_total', 'instance')})", "runs/s"), (f"sum({rate('otlp_compaction_failures_total', 'instance')})", "failures/s")], "cps", width=6),
            heatmap("Time of compactions", "How long each takes.", rate("otlp_compaction_duration_seconds_bucket", "le"), width=6),
            graph("Bytes", "Read from slices and parts, and written as parts.", [(f"sum({rate('otlp_compaction_input_bytes_total', 'instance')})", "in"), (f"sum({rate('otlp_compaction_output_bytes_total', 'instance')})", "out")], "Bps", width=6),
            graph("Rows and duplicates", "Rows written, and equal rows left out.", [(f"sum({rate('otlp_compaction_rows_total', 'instance')})", "written"), (rate("otlp_compaction_duplicates_total", "dataset"), "duplicates {{dataset}}")], "rowsps", width=6),
            row("Retention, deletion, garbage"),
            graph("Due and still there", "Bytes older than their retention that the store still has. They wait for gc.grace; they must not pile up.", [(known("otlp_retention_bytes_due"), "{{dataset}}")], "bytes", stacked=True, width=6),
            graph("Age of the proof", "When a scan last found nothing past its retention.", [(age("otlp_retention_proof_timestamp_seconds"), "{{dataset}}")], "s", limits=steps("transparent", (7200, ORANGE), (93600, RED)), width=6),
            graph("Rows deleted", "By retention, and because somebody asked.", [(rate("otlp_retention_rows_deleted_total", "dataset"), "retention {{dataset}}"), (rate("otlp_deletion_rows_total", "dataset"), "asked for {{dataset}}")], "rowsps", width=6),
            graph("Bytes gone from the store", "Past their retention, and all garbage: what compaction replaced is most of it.", [(f"sum({rate('otlp_retention_bytes_deleted_total', 'instance')})", "past retention"), (f"sum({rate('otlp_gc_bytes_deleted_total', 'instance')})", "garbage")], "Bps", width=6),
            row("Object store"),
            graph("Requests", "What you pay for, by operation.", [(rate("otlp_store_operations_total", "operation"), "{{operation}}")], "reqps", stacked=True, width=6),
            graph("Failures", "After retries. not_found is no failure: it is how absence is noticed.", [(rate("otlp_store_operations_total", "operation, status", ',status!="ok"'), "{{operation}} {{status}}")], "reqps", width=6),
            graph("Time, p99", "By operation, retries included.", [(f"histogram_quantile(0.99, {rate('otlp_store_operation_seconds_bucket', 'operation, le')})", "{{operation}}")], "s", width=6),
            graph("Objects deleted", "By garbage collection.", [(rate("otlp_gc_objects_deleted_total", "instance"), "{{instance}}")], "cps", width=6),
            row("Catalog"),
            graph("Reachable", "Whether each process had an answer from its catalog when it last asked.", [(f"otlp_catalog_up{{{OF}}}", "{{instance}}")], top=1),
            graph("Operations", "commit_segment for each commit, replace for each compaction, snapshot for each query.", [(rate("otlp_catalog_operation_seconds_count", "operation"), "{{operation}}")], "ops", stacked=True),
            graph("Time, p99", "By operation.", [(f"histogram_quantile(0.99, {rate('otlp_catalog_operation_seconds_bucket', 'operation, le')})", "{{operation}}")], "s"),
        ],
    )


def query():
    total = rate("otlp_queries_total", "api")
    return dashboard(
        "query",
        "Query",
        "Who asks, how long it takes, how it ends, and what it costs.",
        [JOB, INSTANCE],
        [
            row("Queries"),
            graph("By API and end", "ok: whole result. invalid: the query is wrong. limit, timeout: it reached one. rejected: too many at once. cancelled: the caller left. error: ours.", [(rate("otlp_queries_total", "api, status"), "{{api}} {{status}}")], "reqps", stacked=True),
            graph("Failed", "Share of queries that end with an error of ours or a timeout.", [(share(rate("otlp_queries_total", "api", ',status=~"error|timeout"'), total), "{{api}}")], "percentunit", limits=steps("transparent", (0.05, RED))),
            graph("Turned away", "Share of queries that are rejected or reach a limit.", [(share(rate("otlp_queries_total", "api", ',status=~"rejected|limit"'), total), "{{api}}")], "percentunit", limits=steps("transparent", (0.1, ORANGE))),
            row("Time"),
            heatmap("All queries", "How long queries take.", rate("otlp_query_duration_seconds_bucket", "le")),
            graph("By API", "Half, 19 of 20 and 99 of 100 are faster.", [(f"histogram_quantile({q}, {rate('otlp_query_duration_seconds_bucket', 'api, le')})", f"{{{{api}}}} p{int(q * 100)}") for q in (0.5, 0.95, 0.99)], "s", width=12),
            row("Caches"),
            graph("Hits", "Share of lookups answered. slices: decoded fresh data; footers: metadata of parts; ranges: bytes of parts.", [(share(rate("otlp_cache_hits_total", "cache"), f"{rate('otlp_cache_hits_total', 'cache')} + {rate('otlp_cache_misses_total', 'cache')}"), "{{cache}}")], "percentunit", top=1),
            graph("Lookups", "By cache.", [(f"{rate('otlp_cache_hits_total', 'cache')} + {rate('otlp_cache_misses_total', 'cache')}", "{{cache}}")], "ops", stacked=True),
            graph("Size", "Bytes that the caches hold, of all processes.", [(f"sum by (cache) (otlp_cache_bytes{{{OF}}})", "{{cache}}")], "bytes", stacked=True),
            row("What they wait for"),
            graph("Catalog snapshots", "Each query begins with one.", quantiles("otlp_catalog_operation_seconds", more=',operation="snapshot"', which=(0.5, 0.99)), "s"),
            graph("Reads from the store", "GET requests, of queries and compactions.", [(rate("otlp_store_operations_total", "status", ',operation="get"'), "{{status}}")], "reqps", stacked=True),
            graph("Time of reads", "GET requests.", quantiles("otlp_store_operation_seconds", more=',operation="get"', which=(0.5, 0.99)), "s"),
            row("Memory"),
            graph("Reserved", "By use, of all processes. Queries get query.max_memory, a quarter of memory.limit unless set.", [(f"sum by (of) (otlp_memory_reserved_bytes{{{OF}}})", "{{of}}")], "bytes", stacked=True, width=12),
            graph("Slices that wait for compaction", "The more there are, the more a query has to open.", [(known("otlp_backlog_slices"), "{{dataset}}")], stacked=True, width=12),
        ],
    )


def kubernetes():
    namespace = variable("namespace", "Namespace", 'label_values(kube_deployment_spec_replicas{deployment=~"otlp-.*"}, namespace)')
    pod = variable("pod", "Pod", 'label_values(kube_pod_info{namespace=~"$namespace",pod=~"otlp-.*"}, pod)')
    ours = 'namespace=~"$namespace",pod=~"otlp-.*",pod=~"$pod"'
    running = ours + ',container!="",container!="POD"'
    deployment = 'namespace=~"$namespace",deployment=~"otlp-.*"'
    scaler = 'namespace=~"$namespace",horizontalpodautoscaler=~"otlp-.*"'

    def used(metric, by, selector=running):
        return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"

    def granted(kind, resource):
        return f'sum by (pod) (kube_pod_container_resource_{kind}{{{ours},resource="{resource}"}})'

    return dashboard(
        "kubernetes",
        "Kubernetes",
        "Pods of the platform as the cluster sees them. Needs kube-state-metrics and the kubelets' container metrics (kube-prometheus-stack has both).",
        [namespace, pod],
        [
            row("Workloads"),
            stat("Pods available", "Of all deployments.", [(f"sum(kube_deployment_status_replicas_available{{{deployment}}})",)], thresholds=steps(RED, (1, GREEN))),
            stat("Pods missing", "Asked for and not available.", [(f"sum(kube_deployment_spec_replicas{{{deployment}}}) - sum(kube_deployment_status_replicas_available{{{deployment}}})",)], thresholds=steps(GREEN, (1, RED))),
            stat("Restarts, 1 h", "Of containers.", [(f"sum(increase(kube_pod_container_status_restarts_total{{{ours}}}[1h]))",)], thresholds=steps(GREEN, (1, ORANGE), (3, RED)), decimals=0),
            stat("Killed for memory", "Containers whose last end was OOMKilled.", [(f'sum(kube_pod_container_status_last_terminated_reason{{{ours},reason="OOMKilled"}}) or vector(0)',)], thresholds=steps(GREEN, (1, RED))),
            stat("Not running", "Pods that are pending or have failed.", [(f'sum(kube_pod_status_phase{{{ours},phase=~"Pending|Failed|Unknown"}})',)], thresholds=steps(GREEN, (1, ORANGE))),
            stat("Autoscaler", "Pods now, of those allowed.", [(f"max(kube_horizontalpodautoscaler_status_current_replicas{{{scaler}}} / kube_horizontalpodautoscaler_spec_max_replicas{{{scaler}}})",)], "percentunit", steps(GREEN, (0.8, ORANGE), (1, RED)), decimals=0),
            graph("Replicas", "What the autoscaler wants, may and has.", [(f"kube_horizontalpodautoscaler_status_current_replicas{{{scaler}}}", "now {{horizontalpodautoscaler}}"), (f"kube_horizontalpodautoscaler_status_desired_replicas{{{scaler}}}", "wanted {{horizontalpodautoscaler}}"), (f"kube_horizontalpodautoscaler_spec_min_replicas{{{scaler}}}", "least {{horizontalpodautoscaler}}"), (f"kube_horizontalpodautoscaler_spec_max_replicas{{{scaler}}}", "most {{horizontalpodautoscaler}}")], width=12),
            table("Pods", "Where they run.", f"kube_pod_info{{{ours}}}", {"namespace": "Namespace", "pod": "Pod", "node": "Node", "pod_ip": "Address"}),
            row("CPU"),
            graph("Cores in use", "By pod.", [(used("container_cpu_usage_seconds_total", "pod"), "{{pod}}")], "cores"),
            graph("Of the request", "The autoscaler aims at 70 %.", [(share(used("container_cpu_usage_seconds_total", "pod"), granted("requests", "cpu")), "{{pod}}")], "percentunit", limits=steps("transparent", (0.7, ORANGE))),
            graph("Throttled", "Share of scheduling periods in which a pod was stopped at its CPU limit.", [(share(used("container_cpu_cfs_throttled_periods_total", "pod"), used("container_cpu_cfs_periods_total", "pod")), "{{pod}}")], "percentunit", top=1),
            row("Memory"),
            graph("Working set", "What the kernel counts against the limit.", [(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", "{{pod}}")], "bytes"),
            graph("Of the limit", "At 100 % the container is killed. The process refuses work before that.", [(share(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", granted("limits", "memory")), "{{pod}}")], "percentunit", limits=steps("transparent", (0.9, ORANGE), (1, RED))),
            graph("Of the request", "The autoscaler aims at 80 %.", [(share(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", granted("requests", "memory")), "{{pod}}")], "percentunit"),
            row("Network"),
            graph("Received", "By pod.", [(used("container_network_receive_bytes_total", "pod", ours), "{{pod}}")], "Bps", width=12),
            graph("Sent", "By pod: to the object store, to the catalog, and answers to queries.", [(used("container_network_transmit_bytes_total", "pod", ours), "{{pod}}")], "Bps", width=12),
        ],
    )


def render():
    """File name to text, of every dashboard."""
    return {
        f"{make.__name__}.json": json.dumps(make(), indent=2) + "\n" for make in (overview, ingest, storage, query, kubernetes)
    }


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "dashboards"
    for name, text in render().items():
        (target / name).write_text(text)
