#!/usr/bin/env bash
# undeploy.sh: removes what deploy.sh made, as its record in the namespace says, and nothing else. Data stays unless --delete-data.
#
# It goes backwards through the steps of deploy.sh and strikes out each entry when its thing is gone, so that it may be run again after
# a failure. What outlives it by design: data, custom resource definitions (deleting them would delete everybody's objects of these
# kinds), and whatever was there before.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deploy_folder=$root/scripts/deploy
# shellcheck source=scripts/deploy/run.sh
. "$deploy_folder/run.sh"
# shellcheck source=scripts/deploy/record.sh
. "$deploy_folder/record.sh"

namespace=otlp-system
release=otlp-rust
delete_data=no
keep=()

help() {
    cat <<END
usage: scripts/undeploy.sh [OPTIONS]

Removes what deploy.sh made. Data stays: volumes, secrets and namespaces in the cluster, and always what is outside it (object store,
PostgreSQL). A later deploy.sh finds it again.

  --namespace NAME      default: otlp-system
  --release NAME        name of the Helm release; default: otlp-rust
  --context NAME        context of the kubeconfig; default: the current one
  --keep PART           leave istio, monitoring or ingress in the cluster; may be repeated
  --delete-data         delete the namespaces that deploy.sh made and the volumes of the release. They cannot be brought back
  --timeout TIME        for each wait; default: 10m
  --dry-run             print every command that would change something, and run none of them
  --yes                 do not ask
  --verbose             show what helm and kubectl print
  --help

exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted
END
}

while [ "$#" -gt 0 ]; do
    case $1 in
        --*=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        --namespace | --release | --context | --keep | --timeout)
            if [ "$#" -lt 2 ] || [ -z "$2" ]; then usage_error "$1 needs a value"; fi
            ;;
    esac
    case $1 in
        --namespace) namespace=$2 ;;
        --release) release=$2 ;;
        --context)
            kubectl+=(--context "$2")
            helm+=(--kube-context "$2")
            ;;
        --keep)
            case $2 in istio | monitoring | ingress) keep+=("$2") ;; *) usage_error "--keep is one of istio, monitoring, ingress, not '$2'" ;; esac
            ;;
        --timeout)
            timeout=$2
            [ -n "$(seconds "$timeout")" ] || usage_error "--timeout is a time such as 90s or 10m, not '$timeout'"
            ;;
        --delete-data) delete_data=yes ;;
        --dry-run) dry_run=yes ;;
        --yes) assume_yes=yes ;;
        --verbose) verbose=yes ;;
        --help)
            help
            exit 0
            ;;
        *) usage_error "there is no option $1" ;;
    esac
    case $1 in --delete-data | --dry-run | --yes | --verbose) shift ;; *) shift 2 ;; esac
done

finish() {
    local code=$?
    trap '' INT TERM
    stop_child
    if [ "$code" != 0 ] && [ "${step:-}" != none ]; then
        [ "$code" = 130 ] || code=1
        {
            printf '\nFAILED: %s\n' "${reason:-\`${last_command:-a command}\` failed}"
            tail -n 15 "$work/output" 2>/dev/null | sed 's/^/    /'
            printf '%s\n' "${remedy:-what is done stays done: run the same command again to go on}"
        } >&2
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

keeps() { [[ " ${keep[*]} " = *" $1 "* ]]; }

title() { printf '\n%s\n' "$1"; }

# remove_release KEY: the release that the record has under this key.
remove_release() {
    recorded "$1" || return 0
    local in=${answer%%/*} name=${answer#*/}
    look_at_release "$name" "$in"
    if [ "$release_status" = absent ]; then
        say "release $name in $in is gone already"
    else
        change_slowly "pods_progress $in" "${helm[@]}" uninstall "$name" --namespace "$in" --wait --timeout "$timeout"
    fi
    strike "$1"
}

# remove_namespace NAME: one that deploy.sh made.
remove_namespace() {
    recorded "namespace.$1" || return 0
    change_slowly "pods_progress $1" "${kubectl[@]}" delete namespace "$1" --ignore-not-found --timeout "$timeout"
    if [ "$1" != "$namespace" ]; then strike "namespace.$1"; fi
}

remove_platform() {
    title "the platform"
    remove_release platform
}

remove_ingress() {
    if keeps ingress; then return 0; fi
    title "the ingress"
    if recorded gateway; then
        local kind in
        IFS=/ read -r kind in _ <<<"$answer"
        if exists crd "$kind"; then change "${kubectl[@]}" delete "$kind" otlp --namespace "$in" --ignore-not-found; fi
        strike gateway
    fi
    if recorded gatewayclass; then
        local class=$answer
        if exists crd "${class%%/*}"; then change "${kubectl[@]}" delete "${class%%/*}" "${class#*/}" --ignore-not-found; fi
        strike gatewayclass
    fi
    remove_release ingress
    local name
    for name in istio-ingress ingress-nginx kong envoy-gateway-system; do remove_namespace "$name"; done
}

remove_monitoring() {
    if keeps monitoring; then return 0; fi
    title "the monitoring"
    remove_release blackbox
    remove_release monitoring
    if recorded grafana-admin; then
        change "${kubectl[@]}" delete secret "${answer#*/}" --namespace "${answer%%/*}" --ignore-not-found
        strike grafana-admin
    fi
    # Prometheus may have a volume there.
    if [ "$delete_data" = yes ]; then remove_namespace monitoring; fi
}

# Others may have joined the mesh since: it is theirs, too.
istio_in_use() {
    ask "${kubectl[@]}" get namespaces -l istio-injection=enabled -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'
    istio_users=$(grep -vx "$namespace" <<<"$answer" | tr '\n' ' ') || istio_users=
    [ -n "${istio_users// /}" ]
}

remove_istio() {
    if keeps istio || ! recorded istio-base; then return 0; fi
    title "Istio"
    if istio_in_use; then
        say "kept: these namespaces are in the mesh, too: $istio_users"
        return 0
    fi
    remove_release istiod
    remove_release istio-cni
    remove_release istio-base
    remove_namespace istio-system
}

remove_data() {
    title "the namespace $namespace"
    if [ "$delete_data" = no ]; then
        say "it stays, with its volumes and secrets; --delete-data removes them"
        return 0
    fi
    if recorded "namespace.$namespace"; then
        remove_namespace "$namespace"
    else
        say "it was there before deploy.sh: only the release's own volumes and secrets are deleted"
        change "${kubectl[@]}" delete persistentvolumeclaims,secrets --namespace "$namespace" -l "app.kubernetes.io/instance=$release" --ignore-not-found
    fi
}

# The record goes with its last entry; that of the namespace alone is kept, so that a later --delete-data knows who made it.
remove_record() {
    exists namespace "$namespace" || return 0
    ask "${kubectl[@]}" get configmap "$record_name" --namespace "$namespace" --ignore-not-found -o "jsonpath={.data}"
    case $answer in
        '' | '{}' | 'map[]') change "${kubectl[@]}" delete configmap "$record_name" --namespace "$namespace" --ignore-not-found ;;
    esac
}

need_tools kubectl helm awk sed
if ! exists namespace "$namespace" || ! exists configmap "$record_name" --namespace "$namespace"; then
    printf 'deploy.sh has made nothing in the namespace %s of this cluster (there is no ConfigMap %s)\n' "$namespace" "$record_name"
    look_at_release "$release" "$namespace"
    if [ "$release_status" != absent ]; then
        printf 'the release %s there is not its work; to remove it: %s\n' "$release" "$(quoted "${helm[@]}" uninstall "$release" --namespace "$namespace")"
    fi
    exit 0
fi

# shellcheck disable=SC2016 # Go's variables
ask "${kubectl[@]}" get configmap "$record_name" --namespace "$namespace" -o 'go-template={{range $key, $value := .data}}{{$key}} {{$value}}{{"\n"}}{{end}}'
printf 'made by deploy.sh:\n'
awk 'NF { printf "    %-28s %s\n", $1, ($2 == "created" ? "" : $2) }' <<<"$answer"
if [ "$dry_run" = yes ]; then printf 'dry run: nothing is changed\n'; fi
if [ "$delete_data" = yes ]; then
    question="Remove it, and delete the DATA in $namespace for ever?"
else
    question="Remove it (data stays)?"
fi
confirm "$question" || {
    echo "nothing was changed"
    step=none
    exit 1
}

remove_platform
remove_ingress
remove_monitoring
remove_istio
remove_data
remove_record
if [ "$dry_run" = yes ]; then printf '\ndry run: nothing was changed\n'; else printf '\nremoved (in %s)\n' "$(duration "$SECONDS")"; fi
