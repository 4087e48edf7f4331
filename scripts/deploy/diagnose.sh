# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# The report of a failure: which step, why, what the cluster says, and how to go on. Sourced by deploy.sh.
#
# It asks the cluster with commands of its own that may fail: a report must never end in a second failure.

step_namespace_name() {
    case $step in
        mesh) if [ "$mesh" = istio ]; then echo istio-system; else echo linkerd; fi ;;
        monitoring) echo "$monitoring_namespace" ;;
        ingress) ingress_namespace ;;
        *) echo "$namespace" ;;
    esac
}

indent() { sed 's/^/      /'; }

part() { # part TITLE, with its text on standard input; nothing if there is none
    local text
    text=$(cat)
    [ -n "$text" ] || return 0
    printf '  %s\n' "$1"
    indent <<<"$text"
}

# unready_pods NAMESPACE: name, state and restarts of each pod that is not as it should be.
unready_pods() {
    "${kubectl[@]}" get pods --namespace "$1" --no-headers 2>/dev/null | awk '
        { split($2, part, "/") }
        $3 == "Completed" || ($3 == "Running" && part[1] == part[2]) { next }
        { print $1, $3 }'
}

# likely STATE...: what the states of pods usually mean.
likely() {
    local text=$*
    case $text in
        *ImagePullBackOff* | *ErrImagePull* | *InvalidImageName*)
            echo "an image cannot be pulled: check --image and --tag, the registry's address and imagePullSecrets" ;;
        *CreateContainerConfigError*) echo "a Secret or ConfigMap that a pod refers to does not exist, or lacks the key" ;;
        *CrashLoopBackOff* | *Error*)
            echo "a process ends at once: its log below says why; often it cannot reach the catalog or the object store" ;;
        *OOMKilled*) echo "a container needs more memory than its limit: a larger --profile, or resources.limits.memory" ;;
        *Pending*) echo "no node has room for a pod, or its volume has no storage class: the events below name it" ;;
        *Init:*) echo "an init container does not finish; in a mesh, its proxy may not reach the control plane" ;;
        *Running*) echo "a pod runs and is not ready: it cannot reach the catalog, the store, or is still migrating" ;;
    esac
    if grep -Eqs 'context deadline exceeded|timed out' "$work/output"; then
        echo "it took longer than --timeout $timeout"
    fi
    if grep -Eqs 'conflict occurred while applying|Apply failed with' "$work/output"; then
        echo "another controller owns fields of these objects: run the command above with --force-conflicts once"
    fi
    if grep -qs 'violates PodSecurity' "$work/output"; then
        echo "the namespace's pod security level forbids these pods"
    fi
    if grep -qs 'orbidden' "$work/output"; then
        echo "you may not do this in this cluster: ask its administrators for the right, or to run this step"
    fi
}

show_state() { # show_state NAMESPACE
    local pod state unready
    unready=$(unready_pods "$1") || unready=
    likely "$unready" "$("${kubectl[@]}" get events --namespace "$1" --no-headers 2>/dev/null | grep -o 'OOMKilled' | head -n 1)" |
        part "likely"
    "${kubectl[@]}" get pods --namespace "$1" -o wide 2>/dev/null | part "pods in $1"
    "${kubectl[@]}" get events --namespace "$1" --sort-by=.lastTimestamp --field-selector type!=Normal --no-headers 2>/dev/null | tail -n 8 |
        part "last warnings in $1"
    while read -r pod state; do
        [ -n "$pod" ] || continue
        case $state in Pending | ContainerCreating | *ImagePull* | CreateContainerConfigError) continue ;; esac
        {
            "${kubectl[@]}" logs "$pod" --namespace "$1" --all-containers --tail=15 --previous 2>/dev/null ||
                "${kubectl[@]}" logs "$pod" --namespace "$1" --all-containers --tail=15 2>/dev/null
        } | part "log of $pod ($state)"
    done <<<"$(head -n 2 <<<"$unready")"
}

report() { # report EXIT_CODE
    local code=$1
    set +e
    {
        printf '\nFAILED at step %d of %d: %s (after %s)\n' "$step_number" "${#steps[@]}" "$step" "$(duration "$SECONDS")"
        if [ "$code" = 130 ]; then reason="interrupted${last_command:+ during \`$last_command\`}"; fi
        printf '  why\n      %s\n' "${reason:-\`${last_command:-a command}\` failed with code $code}"
        tail -n 15 "$work/output" 2>/dev/null | indent
        if [ "$cluster_reachable" = yes ] && [ "$step" != prerequisites ] && [ "$code" != 130 ]; then
            show_state "$(step_namespace_name)"
        fi
        printf '  go on\n'
        if [ -n "$remedy" ]; then printf '      %s\n' "$remedy"; fi
        printf '      then: %s\n' "$(resume_command)"
        if [ "$rollback_on_failure" = no ] && [ "${#undo_list[@]}" -gt 0 ]; then
            printf '      or take back what deploy.sh made: %s\n' "$(quoted "$(dirname "$0")/undeploy.sh" --namespace "$namespace" ${context:+--context "$context"})"
        fi
    } >&2
}
