# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Steps 6 and 7: the chart helm/otlp-rust, and the wait until its pods serve. Sourced by deploy.sh.

# platform_arguments: sets the array of that name to what Helm is told. The options of deploy.sh come last and win over values files.
platform_arguments() {
    local file setting
    platform_arguments=("$chart")
    if [ -n "$profile" ]; then platform_arguments+=(--values "$chart/values-$profile.yaml"); fi
    for file in "${values_files[@]}"; do platform_arguments+=(--values "$file"); done
    if [ "$trial" = yes ]; then platform_arguments+=(--set trial.enabled=true); fi
    if [ -n "$image" ]; then platform_arguments+=(--set-string "image.registry=,image.repository=$image"); fi
    if [ -n "$tag" ]; then platform_arguments+=(--set-string "image.tag=$tag"); fi
    case $mesh in
        istio) platform_arguments+=(--set istio.enabled=true) ;;
        linkerd) platform_arguments+=(--set linkerd.enabled=true) ;;
    esac
    if left_in monitoring; then
        platform_arguments+=(--set "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true")
        if [ -n "$runbook_url" ]; then platform_arguments+=(--set-string "prometheusRule.runbookUrl=$runbook_url"); fi
        # The chart's NetworkPolicy lets in the namespace `monitoring`; someone else's Prometheus may be elsewhere.
        if foreign_operator; then
            platform_arguments+=(--set-json "networkPolicy.monitoring=[{\"namespaceSelector\":{\"matchExpressions\":[$(prometheus_selector)]}}]")
        elif left_in ingress; then
            platform_arguments+=(--set-string "probe.proberUrl=$blackbox_release.$monitoring_namespace.svc:9115")
            platform_arguments+=(--set probe.enabled=true --set-json "probe.targets=[\"http${tls_secret:+s}://$host/readyz\"]")
        fi
    fi
    if left_in ingress; then
        "front_door_$ingress"
        # The chart refuses a host of the API that nobody guards, unless it is told that it is meant: --api-host means it, and
        # check_exposure has said what it means.
        if [ -n "$api_host" ]; then platform_arguments+=(--set "$(api_is_meant_to_be_open)=true"); fi
    fi
    for setting in "${settings[@]}"; do platform_arguments+=(--set "$setting"); done
}

prometheus_selector() {
    # shellcheck disable=SC2086 # names of namespaces, separated by spaces
    printf '{"key":"kubernetes.io/metadata.name","operator":"In","values":[%s]}' "$(json_list $prometheus_namespaces)"
}

api_is_meant_to_be_open() {
    case $ingress in
        istio) echo istio.apiUnauthenticated ;;
        envoy-gateway) echo gatewayApi.apiUnauthenticated ;;
        *) echo ingress.api.unauthenticated ;;
    esac
}

front_door_istio() {
    platform_arguments+=(--set-json "istio.gateways=[\"$(ingress_namespace)/otlp\"]")
    platform_arguments+=(--set-json "istio.hosts=[$(json_list "$host" "$grpc_host")]" --set-json "istio.apiHosts=[$(json_list "$api_host")]")
}

front_door_nginx() {
    platform_arguments+=(--set "ingress.enabled=true,ingress.className=$ingress")
    platform_arguments+=(--set-string "ingress.otlpHttp.host=$host,ingress.otlpGrpc.host=$grpc_host,ingress.api.host=$api_host")
    if [ -n "$tls_secret" ]; then
        platform_arguments+=(--set-json "ingress.tls=[{\"secretName\":\"$tls_secret\",\"hosts\":[$(json_list "$host" "$grpc_host" "$api_host")]}]")
    else
        platform_arguments+=(--set-json "ingress.tls=[]")
    fi
}

front_door_kong() {
    front_door_nginx
    if [ -n "$grpc_host" ]; then
        # Kong takes a backend for an HTTP/1 server, and a route for one of HTTP, unless it is told otherwise.
        platform_arguments+=(--set service.grpcOnly.enabled=true --set-string 'service.grpcOnly.annotations.konghq\.com/protocol=grpc')
        platform_arguments+=(--set-string 'ingress.otlpGrpc.annotations.konghq\.com/protocols=grpc\,grpcs')
    fi
}

front_door_envoy-gateway() {
    platform_arguments+=(--set gatewayApi.enabled=true)
    platform_arguments+=(--set-json "gatewayApi.parentRefs=[{\"name\":\"otlp\",\"namespace\":\"$(ingress_namespace)\"}]")
    platform_arguments+=(--set-json "gatewayApi.otlpHttpHostnames=[$(json_list "$host")]")
    # A gRPC request is told by its method, so that one name does for both.
    platform_arguments+=(--set-json "gatewayApi.otlpGrpcHostnames=[$(json_list "${grpc_host:-$host}")]")
    platform_arguments+=(--set-json "gatewayApi.apiHostnames=[$(json_list "$api_host")]")
}

step_platform() {
    platform_arguments
    install_release platform "$release" "$namespace" "pods_progress $namespace" "${platform_arguments[@]}"
}

step_rollout() {
    local workload workloads
    ask "${kubectl[@]}" get deployments,statefulsets --namespace "$namespace" -l "app.kubernetes.io/instance=$release" -o name
    workloads=$answer
    if [ "$dry_run" = yes ]; then workloads=${workloads:-deployment.apps/otlp-service}; fi
    [ -n "$workloads" ] || fail "no Deployment of the release $release is in $namespace"
    for workload in $workloads; do
        change_slowly "pods_progress $namespace" "${kubectl[@]}" rollout status "$workload" --namespace "$namespace" --timeout "$timeout"
    done
}
