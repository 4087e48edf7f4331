# shellcheck shell=bash
# What stands around the handbook's commands when tests/deploy/test_docs_run.py runs them: a platform on the default ports, PostgreSQL
# and an S3 store where a session needs them. Sourced into a shell with a network of its own, in an empty folder.

ip link set lo up
# Not through a proxy, and not from the machine's own settings.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
export PGCONNECT_TIMEOUT=5
started=()
end_all() {
    local pid
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait
}
trap end_all EXIT

wait_for() { # wait_for PID COMMAND...: until the command succeeds, for a minute at most, or the process has ended.
    local deadline=$((SECONDS + 60))
    until "${@:2}" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$1" 2>/dev/null; then
            echo "this never succeeded: ${*:2}" >&2
            return 1
        fi
        sleep 0.1
    done
}

start_platform() {
    otlp-rust serve --config otlp-rust.yaml 2>>serve.log >/dev/null &
    platform=$!
    started+=("$platform")
    wait_for "$platform" curl -fsS http://127.0.0.1:8080/readyz
}

stop_platform() {
    kill -TERM "$platform"
    wait "$platform"
}

# Some rows, in slices; `compacted` makes parts of them.
some_rows() { otlp-rust demo --seconds 1 --rate 20 >/dev/null; }
compacted() { curl -fsS -X POST 'http://127.0.0.1:8080/api/v1/admin/compact?wait=true' >/dev/null; }

local_platform() {
    printf '%s\n' 'server: {data_dir: data}' 'log: {format: json}' >otlp-rust.yaml
    start_platform
    some_rows
}

set_up_sqlite() { local_platform; compacted; some_rows; }
set_up_first() { local_platform; }
set_up_audit() { local_platform; }
set_up_damage() { local_platform; compacted; }
set_up_prometheus() { :; }
set_up_helm() { :; }

set_up_config() {
    printf '%s\n' 'catalog: {url: "postgres://otlp:secret@db.example:5432/otlp?sslmode=verify-full"}' 'store: {url: s3://telemetry/prod}' >otlp-rust.yaml
}

# Rows, a span that is rejected, a limit that is reached, a Redis that is away, a deletion, queries.
set_up_every_metric() {
    cat >otlp-rust.yaml <<'END'
server: {data_dir: data}
redis: {url: "redis://127.0.0.1:1/0"}
limits: {tenants: {small: {items_per_second: 1}, narrow: {attribute_keys: 1}}}
compaction: {interval: 200ms}
gc: {grace: 100ms, interval: 200ms}
END
    start_platform
    some_rows
    for tenant in small narrow; do
        # It goes on trying for as long as it is told to retry.
        timeout 2 otlp-rust demo --tenant "$tenant" --seconds 1 --rate 5 >/dev/null 2>&1 || true
    done
    curl -fsS http://127.0.0.1:4318/v1/traces -H 'Content-Type: application/json' -d '{"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "good"}, {"traceId": "00", "name": "bad"}]}]}]}' >/dev/null
    compacted
    otlp-rust sql "SELECT count(*) FROM spans" >/dev/null
    otlp-rust delete --tenant default --everything --wait 'done' >/dev/null
    # Some that wait for compaction, and time for the background work to look at everything.
    some_rows
    sleep 3
}

postgres_server() {
    local bin user=()
    bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    mkdir pg
    if [ "$(id -u)" = 0 ]; then
        chown postgres pg
        user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    (cd pg && "${user[@]}" "$bin/initdb" -D data -U postgres -A trust -E UTF8 --no-locale -N >/dev/null)
    (cd pg && exec "${user[@]}" "$bin/postgres" -D data -c listen_addresses=127.0.0.1 -c unix_socket_directories=) >pg.log 2>&1 &
    started+=($!)
    export ADMIN_URL=postgres://postgres@127.0.0.1:5432/postgres
    wait_for $! psql "$ADMIN_URL" -c 'SELECT 1'
    export CATALOG_URL=postgres://postgres@127.0.0.1:5432/otlp
    export DRILL_URL=${CATALOG_URL}_drill RESTORED_URL=${CATALOG_URL}_restored
    createdb --maintenance-db="$ADMIN_URL" otlp
}

s3_store() {
    moto_server -H 127.0.0.1 -p 5000 >s3.log 2>&1 &
    started+=($!)
    export AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1
    export AWS_EC2_METADATA_DISABLED=true
    wait_for $! curl -fsS http://127.0.0.1:5000/moto-api/
    for bucket in telemetry telemetry-backup; do aws s3api create-bucket --bucket "$bucket" >/dev/null; done
}

cluster_platform() { # cluster_platform GRACE: how long replaced objects are kept.
    cat >otlp-rust.yaml <<END
catalog: {url: "$CATALOG_URL"}
store: {url: s3://telemetry/prod, s3: {endpoint: "$AWS_ENDPOINT_URL", region: us-east-1, access_key_id: key, secret_access_key: secret, allow_http: true}}
commit: {min_interval: 20ms}
compaction: {interval: 200ms, max_slice_age: 1s}
gc: {grace: $1, interval: 200ms}
log: {format: json}
END
    start_platform
    some_rows
    compacted
}

set_up_postgres() { postgres_server; s3_store; cluster_platform 15m; }
# Replaced objects go at once, so that a deletion is verified within seconds.
set_up_pitr() { postgres_server; s3_store; cluster_platform 100ms; }
