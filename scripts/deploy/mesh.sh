# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 3: the service mesh. Istio is installed if there is none; Linkerd must be there already. Sourced by deploy.sh.

# The label that makes Istio add its proxy: the default revision's, or that of a control plane with another revision.
istio_injection_label() {
    ask "${kubectl[@]}" get deployments --all-namespaces -l app=istiod -o "jsonpath={.items[0].metadata.labels.istio\.io/rev}"
    if [ -z "$answer" ] || [ "$answer" = default ]; then
        injection_label=istio-injection=enabled
    else
        injection_label="istio.io/rev=$answer"
    fi
}

# join_mesh NAMESPACE: its pods get a proxy from now on.
join_mesh() {
    case $mesh in
        istio)
            istio_injection_label
            ensure_marks labels "$1" "$injection_label"
            ;;
        linkerd) ensure_marks annotations "$1" linkerd.io/inject=enabled ;;
    esac
}

install_istio_chart() { # install_istio_chart NAME ARGUMENTS...
    local name=$1 file values=()
    shift
    chart_source "$name"
    for file in "${istio_values[@]}"; do values+=(--values "$file"); done
    install_release "$name" "$name" istio-system "pods_progress istio-system" "${chart_source[@]}" "$@" "${values[@]}"
}

# Whether there is an Istio that deploy.sh has not made. It is used as it is; our own is brought to the pinned version.
foreign_istio() {
    ask "${kubectl[@]}" get deployments --all-namespaces -l app=istiod -o "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}"
    found_istio=$answer
    [ -n "$found_istio" ] && ! recorded istiod
}

step_mesh_istio() {
    if foreign_istio; then
        say "Istio is there already: $found_istio"
        join_mesh "$namespace"
        return
    fi
    local level=baseline
    if [ "$istio_cni" = yes ]; then level=privileged; fi
    ensure_namespace istio-system "$level"
    install_istio_chart istio-base --set defaultRevision=default
    if [ "$istio_cni" = yes ]; then install_istio_chart istio-cni; fi
    local settings=()
    # With the plugin nothing in a pod needs more than 'restricted' allows.
    if [ "$istio_cni" = yes ]; then settings=(--set pilot.cni.enabled=true --set global.proxy.seccompProfile.type=RuntimeDefault); fi
    install_istio_chart istiod "${settings[@]}" --wait
    join_mesh "$namespace"
}

step_mesh_linkerd() {
    if ! exists deployment linkerd-destination --namespace linkerd && [ "$cluster_reachable" = yes ]; then
        # Its installation begins with a trust anchor, whose key somebody must keep.
        fail "Linkerd is not in this cluster" \
            "install it as linkerd.io/2/tasks/install-helm says (it needs certificates of yours), or choose --mesh istio or --mesh none"
    fi
    join_mesh "$namespace"
}

step_mesh() { "step_mesh_$mesh"; }
