#!/usr/bin/env bash
# package-chart.sh [REGISTRY]: lints the Helm chart and packages it into dist/. The chart in the repository names no registry, since there is
# none before a release; with REGISTRY (ghcr.io/acme) the packaged one finds its image there without a value.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

registry=${1:-}
[[ $registry =~ ^([a-z0-9][-a-z0-9._]*(:[0-9]+)?(/[a-z0-9][-a-z0-9._]*)*)?$ ]] || die "a registry looks like ghcr.io/acme, not '$registry'"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R helm/otlp-rust "$copy"
if [ -n "$registry" ]; then
    # The default, and what the chart's own README says it is.
    sed -i.orig "/^image:/,/^  repository:/s|^  registry: \"\"\$|  registry: $registry|" "$copy/otlp-rust/values.yaml"
    sed -i.orig "s/^| \`image.registry\` | \`\"\"\` |/| \`image.registry\` | \`\"${registry//\//\\/}\"\` |/" "$copy/otlp-rust/README.md"
    for changed in values.yaml README.md; do
        if cmp -s "$copy/otlp-rust/$changed" "$copy/otlp-rust/$changed.orig"; then die "image.registry is not where it is looked for in $changed"; fi
        rm "$copy/otlp-rust/$changed.orig"
    done
fi
helm lint --strict "$copy/otlp-rust"
helm package "$copy/otlp-rust" --destination dist
