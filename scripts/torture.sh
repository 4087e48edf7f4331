#!/usr/bin/env bash
# torture.sh [ARGUMENTS of tests/torture]: faults against the release binary, or against OTLP_RUST_BIN if that is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. .tools/env

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
if [ -z "${OTLP_RUST_BIN:-}" ]; then
    say "build the release binary"
    cargo build --release -p otlp-rust -p otlp-rust-bench # the selection of make run and bench: nothing compiles twice
    export OTLP_RUST_BIN="$CARGO_TARGET_DIR/release/otlp-rust"
fi
if [ -z "${S3_ENDPOINT_BIN:-}" ]; then
    # With the workspace's features, as `make test` builds it, so that nothing compiles twice.
    [ -x "$CARGO_TARGET_DIR/debug/s3-endpoint" ] || { say "build the S3 endpoint"; cargo build --workspace --locked --bins --tests; }
    export S3_ENDPOINT_BIN="$CARGO_TARGET_DIR/debug/s3-endpoint"
fi
export PYTHONPATH="$PWD/tests:$PWD/tests/e2e"
exec .tools/venv/bin/python -m torture "$@"
