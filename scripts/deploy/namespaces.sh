# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 2: the platform's namespace, with the labels that the mesh and pod security want; also the namespaces of the other steps.
# Sourced by deploy.sh.

# ensure_namespace NAME POD_SECURITY: there, and with the pod security level that what runs in it needs.
ensure_namespace() {
    local name=$1 level=$2
    if ! exists namespace "$name"; then
        if [ "$name" != "$namespace" ]; then record "namespace.$name" created; fi
        undo namespace "$name" "namespace.$name"
        change "${kubectl[@]}" create namespace "$name"
        # The record is in this namespace: it can be written only now.
        if [ "$name" = "$namespace" ]; then record "namespace.$name" created; fi
    fi
    ensure_marks labels "$name" "pod-security.kubernetes.io/enforce=$level" pod-security.kubernetes.io/warn=restricted
}

# ensure_marks labels|annotations NAMESPACE KEY=VALUE...: sets what is not so yet, and remembers what was there before.
ensure_marks() {
    local what=$1 name=$2 verb=label mark key before=() wanted=()
    shift 2
    [ "$what" = labels ] || verb=annotate
    for mark in "$@"; do
        key=${mark%%=*}
        ask "${kubectl[@]}" get namespace "$name" --ignore-not-found -o "jsonpath={.metadata.$what.${key//./\\.}}"
        [ "$answer" != "${mark#*=}" ] || continue
        wanted+=("$mark")
        if [ -n "$answer" ]; then before+=("$key=$answer"); else before+=("$key-"); fi
    done
    [ "${#wanted[@]}" -gt 0 ] || return 0
    # A namespace that this run made goes as a whole.
    if [[ ${undo_list[*]:-} != *namespace$'\t'"$name"$'\t'* ]]; then undo "$what" "$name" "${before[@]}"; fi
    change "${kubectl[@]}" "$verb" namespace "$name" "${wanted[@]}" --overwrite
}

# sidecar_pod_security LEVEL: the level a namespace can have whose pods get a proxy of the mesh. Without a CNI plugin the proxy's init
# container redirects traffic itself and needs NET_ADMIN, which only `privileged` allows: `warn` and `audit` still name what else would break.
sidecar_pod_security() {
    local plugin=
    case $mesh in
        istio)
            if [ "$istio_cni" = yes ]; then plugin=own; else
                ask "${kubectl[@]}" get daemonsets --all-namespaces -l k8s-app=istio-cni-node -o name
                plugin=$answer
            fi
            ;;
        linkerd)
            ask "${kubectl[@]}" get daemonsets --all-namespaces -l k8s-app=linkerd-cni -o name
            plugin=$answer
            ;;
        none) plugin="not needed" ;;
    esac
    pod_security=$1
    if [ -z "$plugin" ]; then pod_security=privileged; fi
}

step_namespace() {
    sidecar_pod_security restricted
    if [ "$pod_security" = privileged ]; then
        say "pod security of $namespace is 'privileged', because the mesh's init containers need NET_ADMIN; --istio-cni allows 'restricted'"
    fi
    ensure_namespace "$namespace" "$pod_security"
}
