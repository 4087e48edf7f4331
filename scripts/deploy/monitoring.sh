# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 4: Prometheus, Alertmanager and Grafana from kube-prometheus-stack, unless a Prometheus Operator is there. Sourced by deploy.sh.

monitoring_namespace=monitoring
monitoring_release=kube-prometheus-stack
grafana_secret=grafana-admin

random_text() { LC_ALL=C od -An -N18 -tx1 /dev/urandom | tr -d ' \n'; }

# Whether there is a Prometheus Operator that deploy.sh has not made. Its definitions outlive it, so they alone do not tell.
foreign_operator() {
    exists crd prometheuses.monitoring.coreos.com || return 1
    ask "${kubectl[@]}" get prometheuses.monitoring.coreos.com --all-namespaces -o 'jsonpath={.items[*].metadata.namespace}'
    prometheus_namespaces=$answer
    [ -n "$answer" ] && ! recorded monitoring
}

step_monitoring() {
    if foreign_operator; then
        say "a Prometheus Operator is there already; the platform's ServiceMonitor, rules and dashboards are made for it"
        say "(its Prometheus must select them: see serviceMonitorSelector and ruleSelector of \`kubectl get prometheuses -A -o yaml\`)"
        return
    fi
    # The node exporter reads /proc and the network of its host.
    ensure_namespace "$monitoring_namespace" privileged
    # The chart's own default is a password that everybody knows.
    if ! exists secret "$grafana_secret" --namespace "$monitoring_namespace"; then
        record grafana-admin "$monitoring_namespace/$grafana_secret"
        undo secret "$monitoring_namespace" "$grafana_secret" grafana-admin
        change_with_input "$(random_text)" "${kubectl[@]}" create secret generic "$grafana_secret" --namespace "$monitoring_namespace" \
            --from-literal=admin-user=admin --from-file=admin-password=/dev/stdin
    fi
    local file values=(--values "$deploy_folder/values/kube-prometheus-stack.yaml")
    for file in "${monitoring_values[@]}"; do values+=(--values "$file"); done
    chart_source monitoring
    install_release monitoring "$monitoring_release" "$monitoring_namespace" "pods_progress $monitoring_namespace" \
        "${chart_source[@]}" "${values[@]}" --wait
}
