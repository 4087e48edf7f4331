# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# The last step: where everything is. Sourced by deploy.sh.

line() { printf '    %-28s %s\n' "$1" "$2"; }

step_addresses() {
    local in address=
    the_service
    the_deployment query
    local inside=$service.$namespace.svc
    line "OTLP over gRPC" "$inside:4317 (in the cluster)"
    line "OTLP over HTTP" "http://$inside:4318 (in the cluster)"
    line "API, SQL, traces" "http://$inside:8080 (in the cluster)"
    line "" "$(quoted "${kubectl[@]}" port-forward --namespace "$namespace" "deployment/$deployment" 8080)"
    if left_in ingress; then
        in=$(ingress_namespace)
        ask "${kubectl[@]}" get services --namespace "$in" -o 'jsonpath={range .items[?(@.spec.type=="LoadBalancer")]}{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}{"\n"}{end}'
        address=$(head -n 1 <<<"$answer")
        line "OTLP from outside" "http${tls_secret:+s}://$host"
        line "" "point the DNS name(s) $(front_hosts | tr '\n' ' ')at ${address:-the address of the load balancer: $(quoted "${kubectl[@]}" get services --namespace "$in")}"
    fi
    if recorded monitoring || { [ "$dry_run" = yes ] && wants monitoring; }; then
        line "Grafana" "http://127.0.0.1:3000 after: $(quoted "${kubectl[@]}" port-forward --namespace "$monitoring_namespace" "service/$monitoring_release-grafana" 3000:80)"
        line "" "user admin, password: $(quoted "${kubectl[@]}" get secret "$grafana_secret" --namespace "$monitoring_namespace" -o 'jsonpath={.data.admin-password}') | base64 -d"
        line "Prometheus" "$(quoted "${kubectl[@]}" port-forward --namespace "$monitoring_namespace" "service/$monitoring_release-prometheus" 9090)"
        line "Alertmanager" "$(quoted "${kubectl[@]}" port-forward --namespace "$monitoring_namespace" "service/$monitoring_release-alertmanager" 9093)"
        if [ -z "$alert_secret" ] && [ "${#monitoring_values[@]}" = 0 ]; then
            line "" "it tells nobody yet: --alert-secret NAME gives it the receivers of monitoring/alertmanager.yaml, --monitoring-values those of yours"
        fi
    fi
    line "applications in the cluster" "OTEL_EXPORTER_OTLP_ENDPOINT=http://$inside:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    line "" "the NetworkPolicy lets in those in $namespace and in namespaces of the mesh; others: networkPolicy.clients in a values file"
    line "more pods, newer image" "run deploy.sh again with the options of then and --values or --tag"
    line "remove it" "$(quoted "$(dirname "$0")/undeploy.sh" --namespace "$namespace" ${context:+--context "$context"})"
}
