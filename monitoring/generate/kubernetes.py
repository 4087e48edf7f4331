"""Pods as the cluster sees them. Names of others: kube-state-metrics and cAdvisor."""

from panels import GREEN, ORANGE, RED, dashboard, graph, row, stat, steps, table, variable
from queries import share


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
            stat(
                "Pods available",
                "Of all deployments.",
                [(f"sum(kube_deployment_status_replicas_available{{{deployment}}})",)],
                thresholds=steps(RED, (1, GREEN)),
            ),
            stat(
                "Pods missing",
                "Asked for and not available.",
                [(f"sum(kube_deployment_spec_replicas{{{deployment}}}) - sum(kube_deployment_status_replicas_available{{{deployment}}})",)],
                thresholds=steps(GREEN, (1, RED)),
            ),
            stat(
                "Restarts, 1 h",
                "Of containers.",
                [(f"sum(increase(kube_pod_container_status_restarts_total{{{ours}}}[1h]))",)],
                thresholds=steps(GREEN, (1, ORANGE), (3, RED)),
                decimals=0,
            ),
            stat(
                "Killed for memory",
                "Containers whose last end was OOMKilled.",
                [(f'sum(kube_pod_container_status_last_terminated_reason{{{ours},reason="OOMKilled"}}) or vector(0)',)],
                thresholds=steps(GREEN, (1, RED)),
            ),
            stat(
                "Not running",
                "Pods that are pending or have failed.",
                [(f'sum(kube_pod_status_phase{{{ours},phase=~"Pending|Failed|Unknown"}})',)],
                thresholds=steps(GREEN, (1, ORANGE)),
            ),
            stat(
                "Autoscaler",
                "Pods now, of those allowed.",
                [
                    (
                        f"max(kube_horizontalpodautoscaler_status_current_replicas{{{scaler}}} / kube_horizontalpodautoscaler_spec_max_replicas{{{scaler}}})",
                    )
                ],
                "percentunit",
                steps(GREEN, (0.8, ORANGE), (1, RED)),
                decimals=0,
            ),
            graph(
                "Replicas",
                "What the autoscaler wants, may and has.",
                [
                    (f"kube_horizontalpodautoscaler_status_current_replicas{{{scaler}}}", "now {{horizontalpodautoscaler}}"),
                    (f"kube_horizontalpodautoscaler_status_desired_replicas{{{scaler}}}", "wanted {{horizontalpodautoscaler}}"),
                    (f"kube_horizontalpodautoscaler_spec_min_replicas{{{scaler}}}", "least {{horizontalpodautoscaler}}"),
                    (f"kube_horizontalpodautoscaler_spec_max_replicas{{{scaler}}}", "most {{horizontalpodautoscaler}}"),
                ],
                width=12,
            ),
            table(
                "Pods", "Where they run.", f"kube_pod_info{{{ours}}}", {"namespace": "Namespace", "pod": "Pod", "node": "Node", "pod_ip": "Address"}
            ),
            row("CPU"),
            graph("Cores in use", "By pod.", [(used("container_cpu_usage_seconds_total", "pod"), "{{pod}}")], "cores"),
            graph(
                "Of the request",
                "The autoscaler aims at 70 %.",
                [(share(used("container_cpu_usage_seconds_total", "pod"), granted("requests", "cpu")), "{{pod}}")],
                "percentunit",
                limits=steps("transparent", (0.7, ORANGE)),
            ),
            graph(
                "Throttled",
                "Share of scheduling periods in which a pod was stopped at its CPU limit.",
                [(share(used("container_cpu_cfs_throttled_periods_total", "pod"), used("container_cpu_cfs_periods_total", "pod")), "{{pod}}")],
                "percentunit",
                top=1,
            ),
            row("Memory"),
            graph(
                "Working set",
                "What the kernel counts against the limit.",
                [(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", "{{pod}}")],
                "bytes",
            ),
            graph(
                "Of the limit",
                "At 100 % the container is killed. The process refuses work before that.",
                [(share(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", granted("limits", "memory")), "{{pod}}")],
                "percentunit",
                limits=steps("transparent", (0.9, ORANGE), (1, RED)),
            ),
            graph(
                "Of the request",
                "The autoscaler aims at 80 %.",
                [(share(f"sum by (pod) (container_memory_working_set_bytes{{{running}}})", granted("requests", "memory")), "{{pod}}")],
                "percentunit",
            ),
            row("Network"),
            graph("Received", "By pod.", [(used("container_network_receive_bytes_total", "pod", ours), "{{pod}}")], "Bps", width=12),
            graph(
                "Sent",
                "By pod: to the object store, to the catalog, and answers to queries.",
                [(used("container_network_transmit_bytes_total", "pod", ours), "{{pod}}")],
                "Bps",
                width=12,
            ),
        ],
    )
