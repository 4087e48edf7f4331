#!/usr/bin/env bash
# release-version.sh TAG: prints the version that a tag such as v1.2.3 stands for, if binary and chart have it, too. A release whose parts
# disagree about their version fails here, before anything is published.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

version=${1#v}
[[ ${1:-} =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || die "a tag of a release looks like v1.2.3, not '${1:-}'"
binary=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
chart=$(sed -n 's/^version: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' helm/otlp-rust/Chart.yaml)
app=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' helm/otlp-rust/Chart.yaml)
[ "$binary" = "$version" ] || die "Cargo.toml says version $binary, the tag $version"
[ "$app" = "$version" ] || die "Chart.yaml says appVersion $app, the tag $version"
[ "$chart" = "$version" ] || die "Chart.yaml says version $chart, the tag $version"
echo "$version"
