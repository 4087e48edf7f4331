#!/usr/bin/env bash
# render-k8s.sh [--check]: renders k8s/ from the chart, and makes what else is made from something (see chart_files.py).
# Needs the Python environment of scripts/setup-tests.sh and a built binary (OTLP_RUST_BIN, or target/debug/otlp-rust).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
[ -x .tools/venv/bin/python ] || die "the Python environment is missing: run scripts/setup-tests.sh"
exec .tools/venv/bin/python scripts/chart_files.py "$@"
