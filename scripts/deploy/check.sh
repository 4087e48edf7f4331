# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with deploy.sh and undeploy.sh
# Step 8: a trace goes in through the front door and is read back. Sourced by deploy.sh.
#
# The front door is the ingress, where there is one, and else a pod that takes OTLP; both are reached through `kubectl port-forward`, so
# that neither DNS nor a load balancer's address is needed yet. It is read back from a pod that answers queries, which may be another
# than the one that took it. The platform promises that the next query returns what was acknowledged, so one question is enough.

# A tenant of its own: nobody's data has a stranger's span in it.
check_tenant=deploy-check
forwards=()

# forward NAMESPACE KIND/NAME PORT: sets forwarded_port to a local port that leads there.
forward() {
    local log="$work/forward-${2#*/}-$3" from=$SECONDS
    show "${kubectl[@]}" port-forward --namespace "$1" "$2" ":$3" --address 127.0.0.1
    : >"$log"
    "${kubectl[@]}" port-forward --namespace "$1" "$2" ":$3" --address 127.0.0.1 >"$log" 2>&1 </dev/null &
    forwards+=($!)
    forwarded_port=
    while [ -z "$forwarded_port" ]; do
        forwarded_port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$log" | head -n 1)
        [ -z "$forwarded_port" ] || break
        if ! kill -0 "${forwards[-1]}" 2>/dev/null || [ $((SECONDS - from)) -ge 20 ]; then
            cp "$log" "$work/output"
            fail "no way to port $3 of $2 in $1" "see whether it has pods that are ready: $(quoted "${kubectl[@]}" get pods --namespace "$1")"
        fi
        sleep 0.1
    done
}

stop_forwards() {
    local pid
    for pid in "${forwards[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    forwards=()
}

# request URL ARGUMENTS of curl...: sets http_status (000: no answer); the answer is in $work/output.
request() {
    last_command=$(quoted curl "$@")
    http_status=$(curl --silent --show-error --max-time 20 --output "$work/answer" --write-out '%{http_code}' "$@" 2>"$work/curl-error") || true
    { cat "$work/curl-error"; [ ! -s "$work/answer" ] || head -c 1000 "$work/answer"; } >"$work/output"
}

random_hex() { LC_ALL=C od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# the_service: the Service of the platform, whatever fullnameOverride calls it.
the_service() {
    ask "${kubectl[@]}" get services --namespace "$namespace" -l "app.kubernetes.io/instance=$release,otlp-rust/scrape=true" -o 'jsonpath={.items[*].metadata.name}'
    service=${answer%% *}
    if [ -z "$service" ]; then
        [ "$dry_run" = yes ] || fail "no Service of the release $release is in $namespace"
        service=otlp-service
    fi
}

# the_deployment ROLE: sets deployment to the one whose pods do that; with split roles each does one thing. The Service has no pod with
# all of its ports then, and port-forward to a Service takes one pod, whichever comes first.
the_deployment() {
    ask "${kubectl[@]}" get deployments --namespace "$namespace" -l "app.kubernetes.io/instance=$release,app.kubernetes.io/component in (all,$1)" \
        -o 'jsonpath={.items[*].metadata.name}'
    deployment=${answer%% *}
    if [ -z "$deployment" ]; then
        [ "$dry_run" = yes ] || fail "no Deployment of the release $release in $namespace has the role $1"
        deployment=otlp-service
    fi
}

# front_door: sets front_url and front_arguments.
front_door() {
    local in port=80 scheme=http
    front_arguments=()
    if left_in ingress; then
        if [ -n "$tls_secret" ]; then port=443 scheme=https; fi
        in=$(ingress_namespace)
        ask "${kubectl[@]}" get services --namespace "$in" -o 'jsonpath={range .items[*]}{.metadata.name}{range .spec.ports[*]}{" "}{.port}{end}{"\n"}{end}'
        local entrance
        entrance=$(awk -v port="$port" '{ for (i = 2; i <= NF; i++) if ($i == port) { print $1; exit } }' <<<"$answer")
        if [ -n "$entrance" ]; then
            forward "$in" "service/$entrance" "$port"
            front_url=$scheme://$host
            front_arguments=(--connect-to "$host:$port:127.0.0.1:$forwarded_port")
            return
        fi
        warn "no Service with port $port in $in, so the check goes past the ingress"
    fi
    the_deployment ingest
    forward "$namespace" "deployment/$deployment" 4318
    front_url=http://127.0.0.1:$forwarded_port
}

step_check() {
    if [ "$dry_run" = yes ]; then
        say "+ kubectl port-forward to the front door and to port 8080 of a pod that answers queries"
        say "+ curl --data SPAN .../v1/traces, then curl .../tempo/api/traces/ID: the span must be there"
        return
    fi
    local trace span now body api tries
    trace=$(random_hex 16)
    span=$(random_hex 8)
    now=$(date +%s)
    body='{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"otlp-deploy-check"}}]},"scopeSpans":[{"spans":[{'
    body+="\"traceId\":\"$trace\",\"spanId\":\"$span\",\"name\":\"deploy check $trace\",\"kind\":1,"
    body+="\"startTimeUnixNano\":\"${now}000000000\",\"endTimeUnixNano\":\"${now}001000000\"}]}]}]}"
    front_door
    the_deployment query
    forward "$namespace" "deployment/$deployment" 8080
    api=http://127.0.0.1:$forwarded_port

    # A controller that has just been told of a route may still answer 404 or 503 for a while.
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        request "$front_url/v1/traces" "${front_arguments[@]}" --header 'Content-Type: application/json' --header "X-Scope-OrgID: $check_tenant" --data "$body"
        [ "$http_status" != 200 ] || break
        [ "$tries" = 10 ] || sleep "${CHECK_PAUSE:-2}"
    done
    case $http_status in
        200) ;;
        000) fail "$front_url does not answer" "a certificate that this machine does not trust? CURL_CA_BUNDLE=FILE names its authority" ;;
        *) fail "$front_url/v1/traces answers HTTP $http_status" "kubectl logs of the pods say why; 429 and 503 mean that it is not ready for load" ;;
    esac
    say "trace $trace sent through $front_url: acknowledged"

    request "$api/tempo/api/traces/$trace" --header "X-Scope-OrgID: $check_tenant"
    [ "$http_status" = 200 ] || fail "the acknowledged trace $trace is not returned: HTTP $http_status" \
        "pods that do not share catalog and store look like this: compare their configuration"
    grep -q "deploy check $trace" "$work/answer" || fail "what is returned for trace $trace is not what was sent"
    say "and read back"
    stop_forwards
}
