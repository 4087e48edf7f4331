#!/usr/bin/env bash
# lint.sh all|quick: rustfmt and cargo-deny; `all` adds clippy with warnings as errors.
# Clippy is not in `make test`: it compiles every dependency once more (clippy's output is not usable for running tests),
# which would double a cold run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. .tools/env

failed=()
step() { # step NAME COMMAND...: goes on after a failure, so that one run shows everything.
    say "$1"
    "${@:2}" || failed+=("$1")
}

advisories() {
    if timeout 60 cargo deny --log-level off fetch db >/dev/null 2>&1; then
        cargo deny --log-level error check --disable-fetch advisories
    else
        echo "SKIPPED: the advisory database cannot be reached from here, so known vulnerabilities were not checked"
    fi
}

step "rustfmt" cargo fmt --all --check
step "cargo-deny: licences, sources, one version of each of the large crates" \
    cargo deny --log-level error check --hide-inclusion-graph licenses sources bans
step "cargo-deny: security advisories" advisories
if [ "${1:-all}" = all ]; then
    step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
fi

for name in "${failed[@]}"; do echo "failed: $name"; done
[ "${#failed[@]}" = 0 ]
