#!/usr/bin/env bash
# deploy.sh: otlp-rust on a Kubernetes cluster, with service mesh, monitoring and ingress, by one command. --help lists the options.
#
# The steps stand in `main` in their order; each is a file in scripts/deploy. Any of them may run again: it brings the cluster to the
# wanted state and leaves alone what it finds there already.
set -euo pipefail
if [ "${BASH_VERSINFO[0]}" -lt 4 ] || [ "${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]}" = 4.3 ]; then
    echo "error: bash 4.4 or later is needed, this is $BASH_VERSION (on a Mac: brew install bash)" >&2
    exit 2
fi

# What is installed beside the platform: repositories and versions. Another version: ISTIO_VERSION=1.30.4 scripts/deploy.sh ...
# shellcheck disable=SC2034 # the pieces below use these
{
    istio_repository=https://istio-release.storage.googleapis.com/charts
    istio_version=${ISTIO_VERSION:-1.30.5}
    monitoring_repository=https://prometheus-community.github.io/helm-charts
    monitoring_version=${KUBE_PROMETHEUS_STACK_VERSION:-88.1.3}
    blackbox_version=${BLACKBOX_EXPORTER_VERSION:-11.18.0}
    nginx_repository=oci://ghcr.io/nginx/charts
    nginx_version=${NGINX_INGRESS_VERSION:-2.7.3}
    kong_repository=https://charts.konghq.com
    kong_version=${KONG_INGRESS_VERSION:-0.24.0}
    envoy_gateway_repository=oci://docker.io/envoyproxy
    envoy_gateway_version=${ENVOY_GATEWAY_VERSION:-v1.8.2}
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deploy_folder=$root/scripts/deploy
chart=$root/helm/otlp-rust

# shellcheck source=scripts/deploy/run.sh
. "$deploy_folder/run.sh"
# shellcheck source=scripts/deploy/record.sh
. "$deploy_folder/record.sh"
# shellcheck source=scripts/deploy/charts.sh
. "$deploy_folder/charts.sh"
# shellcheck source=scripts/deploy/namespaces.sh
. "$deploy_folder/namespaces.sh"
# shellcheck source=scripts/deploy/mesh.sh
. "$deploy_folder/mesh.sh"
# shellcheck source=scripts/deploy/monitoring.sh
. "$deploy_folder/monitoring.sh"
# shellcheck source=scripts/deploy/ingress.sh
. "$deploy_folder/ingress.sh"
# shellcheck source=scripts/deploy/platform.sh
. "$deploy_folder/platform.sh"
# shellcheck source=scripts/deploy/check.sh
. "$deploy_folder/check.sh"
# shellcheck source=scripts/deploy/prerequisites.sh
. "$deploy_folder/prerequisites.sh"
# shellcheck source=scripts/deploy/diagnose.sh
. "$deploy_folder/diagnose.sh"
# shellcheck source=scripts/deploy/addresses.sh
. "$deploy_folder/addresses.sh"

namespace=otlp-system
release=otlp-rust
context=
values_files=()
settings=()
profile=
trial=no
image=
tag=
mesh=istio
istio_cni=no
ingress=
host=
grpc_host=
api_host=
tls_secret=
alert_secret=
runbook_url=
local_charts=
istio_values=()
monitoring_values=()
blackbox_values=()
ingress_values=()
without=()
from=
rollback_on_failure=no
arguments=("$@")

help() {
    cat <<END
usage: scripts/deploy.sh [OPTIONS]

Installs otlp-rust from the chart helm/otlp-rust, with Istio, Prometheus, Alertmanager, Grafana and an ingress, waits until it serves,
sends a trace and reads it back. What is in the cluster already is used as it is. Run it again to change options or versions.

  scripts/deploy.sh --trial                       a trial: PostgreSQL, Redis and an S3 store come with it
  scripts/deploy.sh --values my.yaml --profile medium --host otlp.example.com --tls-secret otlp-tls

the platform
  --values FILE         values of the chart; may be repeated, the last wins. It names the catalog and the store (helm/otlp-rust/README.md)
  --set KEY=VALUE       one value; may be repeated. Not for secrets: a value names the Secret that holds one
  --profile PROFILE     small, medium or large: sizes for a load (helm/otlp-rust/values-PROFILE.yaml)
  --trial               single instances of PostgreSQL, Redis and S3 in the cluster: no backup, not for production
  --image NAME          the image, with its registry (ghcr.io/acme/otlp-rust)
  --tag TAG             the image's tag
  --namespace NAME      default: otlp-system
  --release NAME        name of the Helm release; default: otlp-rust
  --context NAME        context of the kubeconfig; default: the current one

around it
  --mesh MESH           istio (default; installed if there is none), linkerd (must be there) or none
  --without-istio       the same as --mesh none
  --istio-cni           with Istio's CNI plugin, so that pods need no NET_ADMIN and pod security can be 'restricted'
  --without-monitoring  no kube-prometheus-stack, ServiceMonitor, rules and dashboards
  --alert-secret NAME   alerts go where monitoring/alertmanager.yaml says, with the addresses in this Secret of the namespace monitoring;
                        its keys: ${alert_keys[*]}
  --runbook-url URL     where your handbook has the chapter on alerts (https://.../runbooks.html); the links in alerts lead there
  --host NAME           the host name under which senders outside reach OTLP over HTTP. Without it there is no ingress: the platform
                        has no authentication of its own yet, so that opening it is for you to decide. With monitoring, a blackbox
                        exporter asks it whether it is ready, and watches its certificate
  --grpc-host NAME      the same for OTLP over gRPC
  --api-host NAME       the same for queries (not for administration). Whoever reaches it reads everything, unless the ingress asks who it is
  --tls-secret NAME     TLS with the certificate in this Secret
  --ingress KIND        istio (default with Istio), nginx (default without), kong or envoy-gateway
  --without-ingress     no ingress, whatever --host says
  --without-check       no trace is sent

how
  --local-charts DIR    take the charts of others from packages (.tgz) in DIR, for clusters and machines without internet
  --istio-values FILE, --monitoring-values FILE, --blackbox-values FILE, --ingress-values FILE
                        values for these charts, such as a registry of your own; may be repeated
  --timeout TIME        for each wait; default: 10m
  --from STEP           begin at this step (after the prerequisites), as the report of a failure says
  --dry-run             print every command that would change something, and run none of them
  --rollback-on-failure undo what this run made if a step fails; nothing else is touched
  --yes                 do not ask
  --verbose             show what helm and kubectl print
  --help

steps: prerequisites namespace mesh monitoring ingress platform rollout check addresses
exit codes: 0 done, 1 a step failed, 2 wrong usage, 3 a step failed and was rolled back, 4 the rollback was not complete either,
130 interrupted
END
}

parse() {
    while [ "$#" -gt 0 ]; do
        local option=$1
        case $option in
            --*=*)
                set -- "${option%%=*}" "${option#*=}" "${@:2}"
                continue
                ;;
            --values | --set | --profile | --image | --tag | --namespace | --release | --context | --mesh | --host | --grpc-host | --api-host | \
                --tls-secret | --ingress | --alert-secret | --runbook-url | --local-charts | --istio-values | --monitoring-values | --blackbox-values | --ingress-values | --timeout | --from)
                if [ "$#" -lt 2 ] || [ -z "$2" ]; then usage_error "$option needs a value"; fi
                ;;
        esac
        case $option in
            --values) values_files+=("$2") ;;
            --set) settings+=("$2") ;;
            --profile) profile=$2 ;;
            --image) image=$2 ;;
            --tag) tag=$2 ;;
            --namespace) namespace=$2 ;;
            --release) release=$2 ;;
            --context) context=$2 ;;
            --mesh) mesh=$2 ;;
            --host) host=$2 ;;
            --grpc-host) grpc_host=$2 ;;
            --api-host) api_host=$2 ;;
            --tls-secret) tls_secret=$2 ;;
            --ingress) ingress=$2 ;;
            --alert-secret) alert_secret=$2 ;;
            --runbook-url) runbook_url=$2 ;;
            --local-charts) local_charts=$2 ;;
            --istio-values) istio_values+=("$2") ;;
            --monitoring-values) monitoring_values+=("$2") ;;
            --blackbox-values) blackbox_values+=("$2") ;;
            --ingress-values) ingress_values+=("$2") ;;
            --timeout) timeout=$2 ;;
            --from) from=$2 ;;
            --trial) trial=yes ;;
            --without-istio) mesh=none ;;
            --istio-cni) istio_cni=yes ;;
            --without-monitoring | --without-ingress | --without-check) without+=("${option#--without-}") ;;
            --dry-run) dry_run=yes ;;
            --rollback-on-failure) rollback_on_failure=yes ;;
            --yes) assume_yes=yes ;;
            --verbose) verbose=yes ;;
            --help)
                help
                exit 0
                ;;
            *) usage_error "there is no option $option" ;;
        esac
        case $option in
            --trial | --without-* | --istio-cni | --dry-run | --rollback-on-failure | --yes | --verbose) shift ;;
            *) shift 2 ;;
        esac
    done
}

one_of() { # one_of OPTION VALUE CHOICE...
    local choice
    for choice in "${@:3}"; do
        if [ "$2" = "$choice" ]; then return 0; fi
    done
    usage_error "$1 is one of ${*:3}, not '$2'"
}

validate() {
    one_of --mesh "$mesh" istio linkerd none
    [ -z "$profile" ] || one_of --profile "$profile" small medium large
    [ -n "$(seconds "$timeout")" ] || usage_error "--timeout is a time such as 90s or 10m, not '$timeout'"
    local name
    for name in "$namespace" "$release"; do
        [[ $name =~ ^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$ ]] || usage_error "'$name' is no name for a namespace or release: lower-case letters, digits and -"
    done
    # They are written into manifests.
    for name in "$host" "$grpc_host" "$api_host" "$tls_secret" "$alert_secret"; do
        [[ -z $name || $name =~ ^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$ ]] || usage_error "'$name' is no host name or name of a Secret"
    done
    if [ -z "$ingress" ]; then
        ingress=nginx
        if [ "$mesh" = istio ]; then ingress=istio; fi
    fi
    one_of --ingress "$ingress" istio nginx kong envoy-gateway
    if [ "$mesh" = istio ] && [ "$ingress" != istio ]; then
        usage_error "with Istio the pods take only what comes through the mesh: use --ingress istio, or --mesh none or linkerd with --ingress $ingress"
    fi
    if [ "$ingress" = istio ] && [ "$mesh" != istio ]; then usage_error "--ingress istio needs --mesh istio"; fi
    if [ "$istio_cni" = yes ] && [ "$mesh" != istio ]; then usage_error "--istio-cni needs --mesh istio"; fi
    if [ -z "$host" ] && [ -n "$grpc_host$api_host$tls_secret" ]; then usage_error "--grpc-host, --api-host and --tls-secret need --host"; fi
    if [[ " ${without[*]} " = *" monitoring "* ]] && [ -n "$alert_secret$runbook_url" ]; then
        usage_error "--alert-secret and --runbook-url say where alerts go, and --without-monitoring makes none"
    fi
    [[ -z $runbook_url || $runbook_url =~ ^https?://[-A-Za-z0-9._~:/?#@%\&=+]+$ ]] || usage_error "--runbook-url is an address such as https://handbook.example.com/runbooks.html, not '$runbook_url'"
    if [ -n "$context" ]; then
        kubectl+=(--context "$context")
        helm+=(--kube-context "$context")
    fi
}

# choose_steps: sets `steps`, and with --from the first that is run after the prerequisites.
choose_steps() {
    local name
    steps=()
    for name in prerequisites namespace mesh monitoring ingress platform rollout check addresses; do
        case $name in
            mesh) [ "$mesh" != none ] || continue ;;
            ingress) [ -n "$host" ] || continue ;;
        esac
        if [[ " ${without[*]} " != *" $name "* ]]; then steps+=("$name"); fi
    done
    first_step=0
    if [ -n "$from" ]; then
        one_of --from "$from" "${steps[@]}"
        while [ "${steps[first_step]}" != "$from" ]; do first_step=$((first_step + 1)); done
    fi
}

left_in() { [[ " ${steps[*]} " = *" $1 "* ]]; }

wants() { [[ " ${steps[*]:first_step} " = *" $1 "* ]]; }

describe() {
    case $1 in
        prerequisites) echo "tools, cluster, permissions and values" ;;
        namespace) echo "$namespace" ;;
        mesh) if [ "$mesh" = istio ]; then echo "Istio $istio_version"; else echo "$mesh"; fi ;;
        monitoring) echo "kube-prometheus-stack $monitoring_version" ;;
        ingress) echo "$ingress for $(front_hosts | tr '\n' ' ')" ;;
        platform) echo "the chart otlp-rust" ;;
        rollout) echo "until every pod serves" ;;
        check) echo "a trace in and out" ;;
        addresses) echo "where everything is" ;;
    esac
}

resume_command() {
    local kept=() position
    for ((position = 0; position < ${#arguments[@]}; position++)); do
        case ${arguments[position]} in
            --from) position=$((position + 1)) ;;
            --from=*) ;;
            *) kept+=("${arguments[position]}") ;;
        esac
    done
    if [ "$step" != prerequisites ]; then kept+=(--from "$step"); fi
    quoted "$0" "${kept[@]}"
}

finish() {
    local code=$?
    trap '' INT TERM
    stop_child
    stop_forwards
    if [ "$code" != 0 ] && [ "$step" != none ]; then
        report "$code"
        # A tool's own code must not look like one of ours.
        [ "$code" = 130 ] || code=1
        if [ "$rollback_on_failure" = yes ]; then
            code=3
            ( set -e; roll_back ) || code=4
        fi
    fi
    rm -rf "$work"
    exit "$code"
}

main() {
    step=none
    step_number=0
    trap finish EXIT
    trap 'exit 130' INT TERM
    parse "$@"
    validate
    choose_steps

    printf 'otlp-rust into the namespace %s: %s\n' "$namespace" "${steps[*]}"
    if ! left_in ingress && [[ " ${without[*]} " != *" ingress "* ]]; then
        printf 'no ingress, because no --host is given; senders in the cluster need none\n'
    fi
    if [ "$dry_run" = yes ]; then printf 'dry run: nothing is changed\n'; fi

    for step in "${steps[@]}"; do
        step_number=$((step_number + 1))
        if [ "$step" != prerequisites ] && [ "$step_number" -le "$first_step" ]; then continue; fi
        local begun=$SECONDS
        printf '\n[%d/%d] %s: %s\n' "$step_number" "${#steps[@]}" "$step" "$(describe "$step")"
        "step_$step"
        printf '    done in %s (%s so far)\n' "$(duration $((SECONDS - begun)))" "$(duration "$SECONDS")"
        if [ "$step" = prerequisites ]; then
            confirm "Install into the namespace $namespace of this cluster?" || { step=none; echo "nothing was changed"; exit 1; }
        fi
    done
    if [ "$dry_run" = yes ]; then printf '\ndry run: nothing was changed\n'; else printf '\notlp-rust is ready\n'; fi
}

main "$@"
