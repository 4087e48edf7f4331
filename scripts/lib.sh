# shellcheck shell=bash
# Shell functions that the scripts share. Sourced, never run.

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# apt_install PACKAGE...: installs Debian packages without a question, and without letting them start their services:
# the tests run PostgreSQL and Redis themselves, on free ports and in temporary folders.
apt_install() {
    command -v apt-get >/dev/null || die "please install by hand: $*"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || die "please install as root: apt-get install $*"
        as_root=(sudo -n)
    fi
    local policy=/usr/sbin/policy-rc.d made_policy=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod +x "$policy"
        made_policy=yes
    fi
    local result=0
    "${as_root[@]}" apt-get update -qq || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || result=$?
    if [ "$made_policy" = yes ]; then "${as_root[@]}" rm -f "$policy"; fi
    [ "$result" = 0 ] || die "apt-get could not install: $*"
}
