#!/usr/bin/env bash
# fuzz.sh: every fuzz test (testkit::fuzz) with many seeds. A failure names its seed; the same one fails in the test itself, with
# OTLP_FUZZ_SEED and OTLP_FUZZ_ROUNDS=1. Address space is limited, so that an input that asks for gigabytes is found. Targets differ
# in what a seed costs, so each of their runs ends after a time if it has not tried all seeds by then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. .tools/env

export OTLP_FUZZ_SEED="${FUZZ_SEED:-1}" OTLP_FUZZ_ROUNDS="${FUZZ_ROUNDS:-100000000}" OTLP_FUZZ_SECONDS="${FUZZ_SECONDS:-120}"
say "build"
cargo build --workspace --locked --bins --tests
say "$OTLP_FUZZ_SECONDS s for each run, seeds from $OTLP_FUZZ_SEED on"
ulimit -v "${FUZZ_MEMORY_KIB:-16777216}"
cargo nextest run --workspace --locked --profile long --no-fail-fast -E 'test(/mutated/)'
