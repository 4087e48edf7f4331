#!/usr/bin/env bash
# test.sh all|rust|e2e|deploy: runs the tests with one cargo profile (dev) and one dependency graph, so that nothing compiles twice.
# Runs on after a failing suite, so that one run shows everything; ends with the sum and a non-zero code if anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. .tools/env
what="${1:-all}"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=()
step() { # step NAME COMMAND...
    local name=$1 from=$SECONDS
    shift
    say "$name"
    if "$@"; then
        printf -- '-- %s: ok, %d s\n' "$name" $((SECONDS - from))
    else
        printf -- '-- %s: FAILED, %d s\n' "$name" $((SECONDS - from))
        failed+=("$name")
    fi
}

rust_tests() {
    # Other histories every day; a failure names its seed, and a day is repeated by setting SIM_SEED to what is printed here.
    export SIM_SEED="${SIM_SEED:-$(date -u +%Y%m%d)0000}" SIM_HISTORIES="${SIM_HISTORIES:-500}"
    echo "simulation: $SIM_HISTORIES histories, SIM_SEED=$SIM_SEED and on"
    # nextest writes reports below the workspace, wherever the build output goes.
    rm -f "target/nextest/ci/junit.xml"
    local result=0
    cargo nextest run --workspace --locked --profile ci || result=$?
    cp "target/nextest/ci/junit.xml" "$results/rust.xml" || true
    return "$result"
}

python_tests() { # python_tests e2e|deploy ARGUMENTS
    # shellcheck disable=SC2086
    OTLP_RUST_BIN="$CARGO_TARGET_DIR/debug/otlp-rust" S3_ENDPOINT_BIN="$CARGO_TARGET_DIR/debug/s3-endpoint" \
        .tools/venv/bin/python -m pytest "tests/$1" -ra --junitxml="$results/$1.xml" ${2:-}
}

# --bins --tests in one command: the binaries then have the very dependencies that the tests have, features included.
say "build"
cargo build --workspace --locked --bins --tests
case "$what" in all | rust) step "rust tests" rust_tests ;; esac
case "$what" in all | e2e) step "black-box tests" python_tests e2e "${E2E_ARGS:-}" ;; esac
case "$what" in all | deploy) step "deployment tests" python_tests deploy "${DEPLOY_ARGS:-}" ;; esac
[ "$what" != all ] || step "format and dependency rules" scripts/lint.sh quick

say "result"
for name in "${failed[@]}"; do echo "failed: $name"; done
find "$results" -name '*.xml' -print0 | xargs -0 .tools/venv/bin/python scripts/sum_junit.py
[ "${#failed[@]}" = 0 ]
