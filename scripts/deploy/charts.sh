# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Which third-party charts there are, and where each comes from: its publisher, or --local-charts. Sourced by deploy.sh.
# Versions stand at the top of deploy.sh.

# chart_of NAME: the chart's own name, its repository, its version.
chart_of() {
    case $1 in
        istio-base) echo "base $istio_repository $istio_version" ;;
        istio-cni) echo "cni $istio_repository $istio_version" ;;
        istiod) echo "istiod $istio_repository $istio_version" ;;
        monitoring) echo "kube-prometheus-stack $monitoring_repository $monitoring_version" ;;
        blackbox) echo "prometheus-blackbox-exporter $monitoring_repository $blackbox_version" ;;
        istio-ingress) echo "gateway $istio_repository $istio_version" ;;
        nginx) echo "nginx-ingress $nginx_repository $nginx_version" ;;
        kong) echo "ingress $kong_repository $kong_version" ;;
        envoy-gateway) echo "gateway-helm $envoy_gateway_repository $envoy_gateway_version" ;;
    esac
}

# charts_needed: sets the array of that name to those that these options install in this cluster.
charts_needed() {
    charts_needed=()
    if wants mesh && [ "$mesh" = istio ] && ! foreign_istio; then
        charts_needed+=(istio-base)
        if [ "$istio_cni" = yes ]; then charts_needed+=(istio-cni); fi
        charts_needed+=(istiod)
    fi
    if wants monitoring && ! foreign_operator; then
        charts_needed+=(monitoring)
        if left_in ingress; then charts_needed+=(blackbox); fi
    fi
    if wants ingress && ! foreign_controller; then charts_needed+=("$(ingress_chart)"); fi
}

chart_file() { # chart_file NAME: what `helm pull` calls its file
    local chart rest
    read -r chart rest <<<"$(chart_of "$1")"
    printf '%s-[0-9v]*.tgz' "$chart"
}

chart_pull() { # chart_pull NAME: the command that fetches its file
    local chart repository version
    read -r chart repository version <<<"$(chart_of "$1")"
    case $repository in
        oci://*) quoted helm pull "$repository/$chart" --version "$version" ;;
        *) quoted helm pull "$chart" --repo "$repository" --version "$version" ;;
    esac
}

# chart_source NAME: sets chart_source to helm's arguments for it, or to `missing` or `several`.
chart_source() {
    local chart repository version found
    read -r chart repository version <<<"$(chart_of "$1")"
    if [ -n "$local_charts" ]; then
        mapfile -t found < <(compgen -G "$local_charts/$(chart_file "$1")")
        case ${#found[@]} in
            0) chart_source=(missing) ;;
            1) chart_source=("${found[0]}") ;;
            *) chart_source=(several) ;;
        esac
        return
    fi
    case $repository in
        oci://*) chart_source=("$repository/$chart" --version "$version") ;;
        *) chart_source=("$chart" --repo "$repository" --version "$version") ;;
    esac
}
