# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 5: the front door for senders outside the cluster. Sourced by deploy.sh.
#
# With Istio it is Istio's own gateway: pods take nothing but mTLS from names that they know, and any other controller has neither.
# Without Istio it is Nginx, Kong or Envoy Gateway. One that is in the cluster already is used as it is.

gateway_class_kind=gatewayclasses.gateway.networking.k8s.io

# The namespaces are those that the chart's NetworkPolicy lets in.
ingress_namespace() {
    case $ingress in
        istio) echo istio-ingress ;;
        nginx) echo ingress-nginx ;;
        kong) echo kong ;;
        envoy-gateway) echo envoy-gateway-system ;;
    esac
}

ingress_chart() {
    if [ "$ingress" = istio ]; then echo istio-ingress; else echo "$ingress"; fi
}

# Whether a controller of this kind is there that deploy.sh has not made.
foreign_controller() {
    case $ingress in
        istio) return 1 ;;
        envoy-gateway) exists crd "$gateway_class_kind" && exists "$gateway_class_kind" envoy-gateway && ! recorded ingress ;;
        *) exists ingressclass "$ingress" && ! recorded ingress ;;
    esac
}

# The object that opens the ports: Istio's Gateway, or one of the Gateway API. Nginx and Kong need none.
gateway_manifest() {
    local in=$1
    if [ "$ingress" = istio ]; then
        printf '{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"otlp","namespace":"%s"},"spec":{"selector":{"istio":"ingress"},"servers":[' "$in"
        if [ -n "$tls_secret" ]; then
            printf '{"port":{"number":443,"name":"https","protocol":"HTTPS"},"hosts":[%s],"tls":{"mode":"SIMPLE","credentialName":"%s"}}' "$(json_list "$namespace/$host" ${grpc_host:+"$namespace/$grpc_host"} ${api_host:+"$namespace/$api_host"})" "$tls_secret"
        else
            printf '{"port":{"number":80,"name":"http","protocol":"HTTP"},"hosts":[%s]}' "$(json_list "$namespace/$host" ${grpc_host:+"$namespace/$grpc_host"} ${api_host:+"$namespace/$api_host"})"
        fi
        printf ']}}\n'
        return
    fi
    printf '{"apiVersion":"v1","kind":"List","items":['
    if [ "$class_is_ours" = yes ]; then
        printf '{"apiVersion":"gateway.networking.k8s.io/v1","kind":"GatewayClass","metadata":{"name":"envoy-gateway"},"spec":{"controllerName":"gateway.envoyproxy.io/gatewayclass-controller"}},'
    fi
    printf '{"apiVersion":"gateway.networking.k8s.io/v1","kind":"Gateway","metadata":{"name":"otlp","namespace":"%s"},"spec":{"gatewayClassName":"envoy-gateway","listeners":[' "$in"
    # Routes come from the platform's namespace.
    local from='"allowedRoutes":{"namespaces":{"from":"Selector","selector":{"matchLabels":{"kubernetes.io/metadata.name":"'$namespace'"}}}}'
    if [ -n "$tls_secret" ]; then
        printf '{"name":"https","port":443,"protocol":"HTTPS","tls":{"mode":"Terminate","certificateRefs":[{"name":"%s"}]},%s}' "$tls_secret" "$from"
    else
        printf '{"name":"http","port":80,"protocol":"HTTP",%s}' "$from"
    fi
    printf ']}}]}\n'
}

# front_hosts: the names that are served, one a line.
front_hosts() { printf '%s\n' "$host" "$grpc_host" "$api_host" | awk 'NF && !seen[$0]++'; }

step_ingress() {
    local in file values=() class_is_ours=yes
    in=$(ingress_namespace)
    if foreign_controller; then
        class_is_ours=no
        say "a controller for '$ingress' is there already"
        say "(if it runs in another namespace than $in, add that to networkPolicy.gateway in a values file)"
    else
        local level=baseline
        if [ "$ingress" = nginx ] || [ "$ingress" = kong ]; then
            sidecar_pod_security baseline
            level=$pod_security
        fi
        ensure_namespace "$in" "$level"
        if [ "$mesh" = linkerd ]; then join_mesh "$in"; fi
        if [ "$ingress" = istio ]; then
            # The proxy of the gateway comes from the same control plane as those of the pods.
            istio_injection_label
            if [[ $injection_label = istio.io/rev=* ]]; then values=(--set "revision=${injection_label#*=}"); fi
        fi
        for file in "${ingress_values[@]}"; do values+=(--values "$file"); done
        chart_source "$(ingress_chart)"
        # Without --wait: it would wait for an address of a load balancer, which some clusters never give.
        install_release ingress "$(ingress_release)" "$in" "pods_progress $in" "${chart_source[@]}" "${values[@]}"
        change_slowly "pods_progress $in" "${kubectl[@]}" wait deployment --all --namespace "$in" --for=condition=Available --timeout "$timeout"
    fi
    need_tls_secret
    if [ "$ingress" = envoy-gateway ] && [ "$class_is_ours" = yes ] && ! recorded gatewayclass; then
        record gatewayclass "$gateway_class_kind/envoy-gateway"
        undo class "$gateway_class_kind" envoy-gateway gatewayclass
    fi
    if [ "$ingress" = istio ] || [ "$ingress" = envoy-gateway ]; then
        if ! exists crd "$(gateway_kind)" || ! exists "$(gateway_kind)" otlp --namespace "$in"; then
            record gateway "$(gateway_kind)/$in/otlp"
            undo gateway "$(gateway_kind)" "$in" gateway
        fi
        change_with_input "$(gateway_manifest "$in")" "${kubectl[@]}" apply -f -
        if [ "$dry_run" = yes ]; then say "with this on its standard input: $(gateway_manifest "$in")"; fi
    fi
}

# need_tls_secret: it must be where the one that terminates TLS looks for it. deploy.sh makes no certificates.
need_tls_secret() {
    [ -n "$tls_secret" ] && [ "$cluster_reachable" = yes ] || return 0
    local in=$namespace
    if [ "$ingress" = istio ] || [ "$ingress" = envoy-gateway ]; then in=$(ingress_namespace); fi
    if exists secret "$tls_secret" --namespace "$in"; then return 0; fi
    if [ "$dry_run" = yes ]; then
        warn "the secret $tls_secret is not in $in yet"
        return 0
    fi
    fail "the secret $tls_secret is not in the namespace $in" \
        "make it: $(quoted "${kubectl[@]}" create secret tls "$tls_secret" --namespace "$in" --cert=FILE --key=FILE)"
}

ingress_release() {
    case $ingress in
        istio) echo istio-ingress ;;
        nginx) echo nginx-ingress ;;
        kong) echo kong ;;
        envoy-gateway) echo envoy-gateway ;;
    esac
}

gateway_kind() {
    if [ "$ingress" = istio ]; then echo gateways.networking.istio.io; else echo gateways.gateway.networking.k8s.io; fi
}
