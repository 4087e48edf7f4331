# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 4: Prometheus, Alertmanager and Grafana from kube-prometheus-stack, unless a Prometheus Operator is there, and where there is a
# front door, the exporter that looks at it from outside. Sourced by deploy.sh.

monitoring_namespace=monitoring
monitoring_release=kube-prometheus-stack
grafana_secret=grafana-admin
blackbox_release=prometheus-blackbox-exporter

# What the receivers of monitoring/alertmanager.yaml read.
alert_keys=(slack-url pagerduty-first-line pagerduty-second-line)

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
        if left_in ingress; then
            say "(it does not watch the front door yet: that takes a blackbox exporter and the chart's values probe.*)"
        fi
        if [ -n "$alert_secret" ]; then
            warn "its Alertmanager keeps its routes: --alert-secret is for one that deploy.sh installs; scripts/deploy/values/alertmanager.yaml has the routes"
        fi
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
    if [ "$mesh" = istio ]; then
        # The pods answer the API to identities of the mesh only, and Grafana asks them for traces. The namespace stays outside.
        istio_injection_label
        case $injection_label in
            istio.io/rev=*) values+=(--set-string "grafana.podLabels.istio\.io/rev=${injection_label#*=}") ;;
            *) values+=(--set-string 'grafana.podLabels.sidecar\.istio\.io/inject=true') ;;
        esac
    fi
    if [ -n "$alert_secret" ]; then
        need_alert_secret
        values+=(--values "$deploy_folder/values/alertmanager.yaml")
        values+=(--set-json "alertmanager.alertmanagerSpec.volumes=[{\"name\":\"otlp-alerts\",\"secret\":{\"secretName\":\"$alert_secret\"}}]")
    fi
    for file in "${monitoring_values[@]}"; do values+=(--values "$file"); done
    chart_source monitoring
    install_release monitoring "$monitoring_release" "$monitoring_namespace" "pods_progress $monitoring_namespace" \
        "${chart_source[@]}" "${values[@]}" --wait
    if left_in ingress; then
        values=()
        for file in "${blackbox_values[@]}"; do values+=(--values "$file"); done
        chart_source blackbox
        install_release blackbox "$blackbox_release" "$monitoring_namespace" "pods_progress $monitoring_namespace" \
            "${chart_source[@]}" "${values[@]}" --wait
    fi
}

# need_alert_secret: without the Secret Alertmanager's pod would wait for it for ever; without a key Alertmanager starts, and the receiver
# that reads it sends nothing.
need_alert_secret() {
    local key missing=()
    [ "$cluster_reachable" = yes ] || return 0
    if ! exists secret "$alert_secret" --namespace "$monitoring_namespace"; then
        if [ "$dry_run" = yes ]; then
            warn "the secret $alert_secret is not in $monitoring_namespace yet"
            return 0
        fi
        fail "the secret $alert_secret is not in the namespace $monitoring_namespace" \
            "make it: $(quoted "${kubectl[@]}" create secret generic "$alert_secret" --namespace "$monitoring_namespace" --from-file=slack-url=FILE) ... (keys: ${alert_keys[*]})"
    fi
    for key in "${alert_keys[@]}"; do
        ask "${kubectl[@]}" get secret "$alert_secret" --namespace "$monitoring_namespace" -o "jsonpath={.data.$key}"
        [ -n "$answer" ] || missing+=("$key")
    done
    answer=
    if [ "${#missing[@]}" -gt 0 ]; then warn "the secret $alert_secret has no ${missing[*]}: nobody is told by that way"; fi
}
