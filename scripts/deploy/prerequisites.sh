# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 1: whether this machine, this cluster and these options can do it at all. Sourced by deploy.sh.
#
# Everything that can be known before anything is changed is asked here, and all that is wrong is said at once.

# The oldest Kubernetes that the chart's manifests are checked against, and the oldest Helm that it and deploy.sh are run with.
oldest_kubernetes=1.27
oldest_helm=3.17

problems=()
kubernetes_version=
problem() { problems+=("$1"); }

# at_least HAVE WANTED: compares MAJOR.MINOR.
at_least() {
    local have_major=${1%%.*} have_minor=${1#*.} want_major=${2%%.*} want_minor=${2#*.}
    [ "$have_major" -gt "$want_major" ] || { [ "$have_major" = "$want_major" ] && [ "${have_minor%%.*}" -ge "$want_minor" ]; }
}

# version_of TEXT: 1.31 of "v1.31.4-gke.372300" or "v3.17.3+ge4da497"
version_of() { sed -n 's/^v\{0,1\}\([0-9]\{1,\}\.[0-9]\{1,\}\).*/\1/p' <<<"$1"; }

# The version in kubectl's JSON: kubectl_version clientVersion|serverVersion
kubectl_version() {
    awk -v wanted="\"$1\"" 'index($0, wanted) { there = 1 } there && /"gitVersion"/ { split($0, part, "\""); print part[4]; exit }' "$work/versions"
}

check_helm() {
    local text version
    text=$(helm version --short 2>"$work/output") || fail "\`helm version --short\` failed"
    version=$(version_of "$text")
    [ -n "$version" ] || fail "the version of helm is not understood: $text"
    at_least "$version" "$oldest_helm" || problem "helm is $version; $oldest_helm or later is needed (helm.sh/docs/intro/install)"
    say "helm $text"
}

check_cluster() {
    local client server
    # It fails when the cluster is away, and prints the client's version all the same.
    if ! "${kubectl[@]}" version -o json >"$work/versions" 2>"$work/output"; then
        client=$(kubectl_version clientVersion)
        if [ "$dry_run" = yes ]; then
            cluster_reachable=no
            warn "the cluster cannot be reached; this dry run takes it for an empty one"
            return
        fi
        fail "kubectl ${client:-} cannot reach the cluster" \
            "check \`$(quoted "${kubectl[@]}" cluster-info)\`; --context picks another context of your kubeconfig"
    fi
    client=$(kubectl_version clientVersion)
    server=$(kubectl_version serverVersion)
    say "kubectl $client, Kubernetes $server, context ${context:-$("${kubectl[@]}" config current-context 2>/dev/null || echo "of the pod")}"
    kubernetes_version=$(version_of "$server")
    at_least "$kubernetes_version" "$oldest_kubernetes" || problem "the cluster runs Kubernetes $kubernetes_version; $oldest_kubernetes or later is needed"
    client=$(version_of "$client")
    local skew=$((${client#*.} - ${kubernetes_version#*.}))
    if [ "${skew#-}" -gt 1 ]; then warn "kubectl $client and Kubernetes $kubernetes_version are more than one minor version apart, which is not supported"; fi
}

may() { # may VERB RESOURCE [ARGUMENTS]: whether we are allowed to
    local said
    said=$("${kubectl[@]}" auth can-i "$@" 2>"$work/output" </dev/null) || true
    case $said in
        yes*) ;;
        no*) problem "not allowed in this cluster: $(quoted "${kubectl[@]}" auth can-i "$@")" ;;
        *) fail "\`$(quoted "${kubectl[@]}" auth can-i "$@")\` gave no answer" ;;
    esac
}

check_permissions() {
    [ "$cluster_reachable" = yes ] || return 0
    # Who may do everything is asked one question.
    if [ "$("${kubectl[@]}" auth can-i '*' '*' --all-namespaces 2>/dev/null </dev/null)" = yes ]; then return 0; fi
    if ! exists namespace "$namespace"; then may create namespaces; fi
    may patch namespaces
    local kind
    for kind in deployments.apps statefulsets.apps services configmaps secrets serviceaccounts roles.rbac.authorization.k8s.io \
        rolebindings.rbac.authorization.k8s.io networkpolicies.networking.k8s.io jobs.batch; do
        may create "$kind" --namespace "$namespace"
    done
    may list events --namespace "$namespace"
    may get pods --subresource=log --namespace "$namespace"
    if wants check; then may create pods --subresource=portforward --namespace "$namespace"; fi
    # The charts of mesh, monitoring and ingress bring definitions, roles and webhooks for the whole cluster.
    if wants mesh && [ "$mesh" = istio ] || wants monitoring || wants ingress; then
        may create customresourcedefinitions.apiextensions.k8s.io
        may create clusterroles.rbac.authorization.k8s.io
        may create clusterrolebindings.rbac.authorization.k8s.io
    fi
    if wants mesh && [ "$mesh" = istio ] || wants monitoring; then
        may create mutatingwebhookconfigurations.admissionregistration.k8s.io
        may create validatingwebhookconfigurations.admissionregistration.k8s.io
    fi
}

# The trial's databases have volumes. A cluster without a default storage class never gives them any.
check_storage() {
    [ "$trial" = yes ] && [ "$cluster_reachable" = yes ] || return 0
    local classes
    classes=$("${kubectl[@]}" get storageclasses -o 'jsonpath={range .items[*]}{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{"\n"}{end}' 2>/dev/null) || return 0
    if ! grep -qx true <<<"$classes"; then
        warn "there is no default storage class: name one with --set trial.storageClass=NAME (\`kubectl get storageclasses\` lists them)"
    fi
}

# Who exposes the API has to know that the platform asks nobody who he is.
check_exposure() {
    if left_in ingress && [ -n "$api_host" ]; then
        warn "whoever reaches $api_host reads all telemetry: otlp-rust does not authenticate. Let the ingress do it (helm/otlp-rust/examples), or leave --api-host out"
    fi
}

# Without metrics the autoscalers see neither CPU nor memory: the number of pods stays as it is, whatever the load.
check_metrics() {
    [ "$cluster_reachable" = yes ] && grep -qs '^kind: HorizontalPodAutoscaler' "$work/rendered" || return 0
    local service
    service=$("${kubectl[@]}" get apiservices.apiregistration.k8s.io v1beta1.metrics.k8s.io --ignore-not-found -o name 2>/dev/null) || return 0
    if [ -z "$service" ]; then
        warn "the cluster has no metrics for autoscalers: install metrics-server (or --set autoscaling.enabled=false)"
    fi
}

# Wrong values are found by the chart's own schema, before anything is installed.
check_values() {
    local file
    for file in "${values_files[@]}" "${istio_values[@]}" "${monitoring_values[@]}" "${blackbox_values[@]}" "${ingress_values[@]}"; do
        [ -r "$file" ] || problem "the values file $file cannot be read"
    done
    [ "${#problems[@]}" = 0 ] || return 0
    platform_arguments
    local version=()
    if [ -n "$kubernetes_version" ]; then version=(--kube-version "$kubernetes_version"); fi
    if ! "${helm[@]}" template "$release" "${platform_arguments[@]}" --namespace "$namespace" "${version[@]}" >"$work/rendered" 2>"$work/output"; then
        problem "the chart does not accept these values: $(tr '\n' ' ' <"$work/output")"
        return 0
    fi
    # A name without a registry is looked for at Docker Hub, where there is none of that name, unless the nodes have it already.
    local image_name
    image_name=$(sed -n 's/^ *image: "\{0,1\}\([^"/]*\)"\{0,1\}$/\1/p' "$work/rendered" | head -n 1)
    if [ -n "$image_name" ]; then
        warn "the image $image_name is named without a registry: build it (make image), push it, and say --image REGISTRY/NAME, unless every node has it"
    fi
}

check_local_charts() {
    [ -n "$local_charts" ] || return 0
    [ -d "$local_charts" ] || { problem "--local-charts: $local_charts is no folder"; return; }
    local name
    charts_needed
    for name in "${charts_needed[@]}"; do
        chart_source "$name"
        [ "${chart_source[0]}" != missing ] || problem "no $(chart_file "$name") in $local_charts; where there is internet: $(chart_pull "$name")"
        [ "${chart_source[0]}" != several ] || problem "several files $(chart_file "$name") in $local_charts: keep one"
    done
}

step_prerequisites() {
    need_tools kubectl helm awk sed od
    if wants check; then need_tools curl; fi
    check_helm
    check_cluster
    check_permissions
    check_local_charts
    check_storage
    check_values
    check_metrics
    check_exposure
    if [ "${#problems[@]}" -gt 0 ]; then
        printf '%s\n' "${problems[@]}" >"$work/output"
        fail "${#problems[@]} thing(s) stand in the way, and nothing was changed" "put them right and run the same command again"
    fi
}
