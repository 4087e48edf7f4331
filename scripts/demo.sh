#!/usr/bin/env bash
# Starts the platform and the demo shop beside it; Ctrl-C stops both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary="${CARGO_TARGET_DIR:-target}/release/otlp-rust"

"$binary" serve --data-dir "${DATA_DIR:-./data}" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null; wait "$server" 2>/dev/null' EXIT
for _ in $(seq 100); do
    if python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8080/readyz")' 2>/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.2
done
kill -0 "$server" 2>/dev/null || exit 1
"$binary" demo
