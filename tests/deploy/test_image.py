"""docker/Dockerfile is built and what comes out is run, as an engine or Kubernetes with strict settings would run it."""

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY, cannot
from container import Buildah, Container, cached, debian_base, distroless_base, run
from platform_process import binary

# The first time, bases are made, which takes minutes.
pytestmark = pytest.mark.timeout(1200)

DOCKERFILE = REPOSITORY / "docker/Dockerfile"
USER = 65532
DATA = "/var/lib/otlp-rust"
TRACE = "5b8efff798038103d269b633813fc60c"


def stage(name):
    """The text of one stage of the Dockerfile."""
    found = re.search(rf"^FROM \S+ AS {name}$.*?(?=^FROM |\Z)", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    return found[0]


@pytest.fixture(scope="module")
def room():
    """A folder for a gigabyte that is written once and read once: in memory, where there is plenty."""
    memory = Path("/dev/shm")
    plenty = memory.is_dir() and shutil.disk_usage(memory).free > 8 << 30
    path = Path(tempfile.mkdtemp(prefix="otlp-rust-images-", dir=memory if plenty else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def buildah(room):
    if os.geteuid() != 0:
        cannot("needs root: debootstrap, chroot and runc's namespaces")
    for tool in ["buildah", "debootstrap", "runc"]:
        assert shutil.which(tool), f"{tool} is missing: run scripts/setup-tests.sh"
    made = Buildah(room)
    yield made
    made.close()


def context(path):
    """A build context that lacks nothing but the binary."""
    (path / "docker/prebuilt").mkdir(parents=True)
    for name in ["LICENSE", ".dockerignore"]:
        shutil.copy(REPOSITORY / name, path)
    return path


@pytest.fixture(scope="module")
def bases(buildah):
    buildah.load(distroless_base(), "localhost/distroless")

    def make_tools(path):
        buildah.load(debian_base(), "localhost/debian")
        arguments = ["--target", "tools", "--build-arg", "DEBIAN_IMAGE=localhost/debian"]
        buildah.build(REPOSITORY, "localhost/made-tools", *arguments, dockerfile=DOCKERFILE)
        run("tar", "-C", buildah.root("localhost/made-tools"), "-czf", path, ".")

    # The stage downloads packages: it is built once, and again when its text changes.
    key = hashlib.sha256(stage("tools").encode()).hexdigest()[:12]
    buildah.load(cached(f"tools-{key}.tar.gz", make_tools), "localhost/tools")
    return ["--build-arg", "BASE=localhost/distroless", "--build-arg", "DEBUG_BASE=localhost/tools"]


@pytest.fixture(scope="module")
def images(buildah, bases, room):
    """The image and its debug variant, by target, with the binary under test."""
    where = context(room / "context")
    run("strip", "-o", where / "docker/prebuilt/otlp-rust", binary("otlp-rust", "OTLP_RUST_BIN"))
    arguments = [*bases, "--build-arg", "BINARY=prebuilt", "--build-arg", "REVISION=abc123"]
    return {
        target: buildah.build(where, f"localhost/otlp-rust:{target}", *arguments, "--target", target, dockerfile=DOCKERFILE)
        for target in ["runtime", "debug"]
    }


@pytest.fixture
def container(buildah, images, tmp_path):
    """Makes containers that end with the test: container(target="runtime", arguments=None, ...)."""
    made = []

    def make(target="runtime", **options):
        made.append(Container(buildah, images[target], tmp_path / f"{target}-{len(made)}", **options))
        return made[-1].start()

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def data(tmp_path):
    """A volume as engines make it: it belongs to whom the image's folder belongs to."""
    path = tmp_path / "data"
    path.mkdir()
    os.chown(path, USER, USER)
    return path


def test_what_the_image_says_about_itself(buildah, images):
    config = buildah.config(images["runtime"])
    assert config["User"] == f"{USER}:{USER}", "by number, or Kubernetes cannot tell that it is not root"
    assert config["Entrypoint"] == ["/usr/local/bin/otlp-rust"] and config["Cmd"] == ["serve"]
    assert config["WorkingDir"] == DATA and list(config["Volumes"]) == [DATA]
    assert set(config["ExposedPorts"]) == {"4317/tcp", "4318/tcp", "8080/tcp", "9090/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/otlp-rust", "health"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert labels["title"] == "otlp-rust" and labels["licenses"] == "Apache-2.0" and labels["description"]
    assert labels["version"] == version, "the default of VERSION in docker/Dockerfile is that of Cargo.toml"
    assert labels["revision"] == "abc123" and labels["created"] == "1970-01-01T00:00:00Z"


def test_the_debug_image_is_the_image_with_tools(buildah, images):
    plain, debug = (buildah.config(images[target]) for target in ["runtime", "debug"])
    assert plain == debug
    paths = ["usr/local/bin/otlp-rust", "var/lib/otlp-rust", "usr/share/doc/otlp-rust/LICENSE"]
    for path in paths:
        one, other = (os.stat(buildah.root(images[target]) / path) for target in ["runtime", "debug"])
        assert (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid), path


def test_the_image_holds_one_program(buildah, images):
    root = buildah.root(images["runtime"])
    programs, owned, unsafe = [], [], []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            seen = path.lstat()
            inside = f"/{path.relative_to(root)}"
            if stat.S_ISREG(seen.st_mode) and seen.st_mode & 0o111 and ".so" not in name:
                programs.append(inside)
            if seen.st_uid != 0:
                owned.append(inside)
            if not stat.S_ISLNK(seen.st_mode) and seen.st_mode & (stat.S_ISUID | stat.S_ISGID):
                unsafe.append(inside)
    assert programs == ["/usr/local/bin/otlp-rust"]
    assert owned == [DATA], "the process can change nothing but its data"
    assert unsafe == []
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_symlink())
    program = (root / "usr/local/bin/otlp-rust").stat().st_size
    print(f"image {size / 1e6:.0f} MB, of which the binary {program / 1e6:.0f} MB")
    assert size - program < 30e6


def status_of(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def curl(tools, *arguments):
    done = tools.execute("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "20", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_serves_without_root_and_without_a_writable_root(container, data):
    server = container(data=data).wait_until_healthy()
    status = status_of(server.pid)
    assert status["Uid"].split() == [str(USER)] * 4 and status["Gid"].split() == [str(USER)] * 4
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in Path(f"/proc/{server.pid}/mountinfo").read_text().splitlines()]
    modes = {mount[4]: mount[5].split(",")[0] for mount in mounts}
    assert modes["/"] == "ro" and modes[DATA] == "rw"

    # As one does with `docker exec` or `kubectl exec` in a runbook.
    tools = container("debug", command=["sleep", "600"], network_of=server)
    listening = tools.execute("ss", "--no-header", "--listening", "--tcp", "--numeric").stdout
    assert {line.split()[3] for line in listening.splitlines()} == {f"0.0.0.0:{port}" for port in [4317, 4318, 8080, 9090]}
    now = time.time_ns()
    span = {"traceId": TRACE, "spanId": "eee19b7ec3c1b174", "name": "from a container", "kind": 2}
    span |= {"startTimeUnixNano": str(now - 1_000_000), "endTimeUnixNano": str(now)}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "boxed"}}]}
    request = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})
    curl(tools, "--header", "Content-Type: application/json", "--data", request, "http://127.0.0.1:4318/v1/traces")
    found = curl(tools, f"http://127.0.0.1:8080/tempo/api/traces/{TRACE}")
    assert "from a container" in found and "boxed" in found
    assert "otlp_requests_total" in curl(tools, "http://127.0.0.1:9090/metrics")
    written = list(data.rglob("*"))
    assert written and {path.lstat().st_uid for path in written} == {USER}

    assert server.stop() == 0
    tools.kill()
    again = container(data=data).wait_until_healthy()
    tools = container("debug", command=["sleep", "600"], network_of=again)
    assert "from a container" in curl(tools, f"http://127.0.0.1:8080/tempo/api/traces/{TRACE}")


def test_nothing_else_can_be_written(container, data):
    server = container(data=data, env={"OTLP_RUST__SERVER__DATA_DIR": "/srv/otlp-rust"})
    code, said = server.finish()
    assert code != 0 and "Read-only file system" in said, said
    tools = container("debug", command=["sleep", "600"], data=data)
    for path in ["/tmp/x", "/etc/x", "/usr/local/bin/otlp-rust", "/x"]:
        touched = tools.execute("touch", path)
        # Where others than root could write, as in /tmp, the mount is what forbids it.
        expected = "Read-only file system" if path == "/tmp/x" else "cannot touch"
        assert touched.returncode != 0 and expected in touched.stderr, (path, touched)
    assert tools.execute("touch", f"{DATA}/x").returncode == 0


def test_a_volume_of_somebody_else_is_a_clear_error(container, data):
    os.chown(data, 0, 0)
    code, said = container(data=data).finish()
    assert code != 0 and DATA in said and ("Permission denied" in said or "unable to open database file" in said), said


def test_health_tells_when_nobody_answers(buildah, images, container, data):
    code, said = container(arguments=["health"]).finish()
    assert code != 0 and "8080" in said, said

    server = container(data=data).wait_until_healthy()
    # Whoever hangs is not healthy, even though its ports are open; the check itself must not hang for longer than engines wait.
    os.kill(server.pid, signal.SIGSTOP)
    asked = time.monotonic()
    frozen = server.check_health()
    took = time.monotonic() - asked
    os.kill(server.pid, signal.SIGCONT)
    assert frozen.returncode != 0 and "8080" in frozen.stdout + frozen.stderr, frozen.stdout + frozen.stderr
    assert took < buildah.config(images["runtime"])["Healthcheck"]["Timeout"] / 1e9
    assert server.check_health().returncode == 0


def test_the_same_input_gives_the_same_image(buildah, bases, tmp_path):
    seen = []
    for attempt in range(2):
        where = context(tmp_path / str(attempt))
        program = where / "docker/prebuilt/otlp-rust"
        program.write_text("#!/bin/false\n")
        os.utime(program, (1_000_000 * attempt, 1_000_000 * attempt))
        arguments = [*bases, "--build-arg", "BINARY=prebuilt", "--timestamp", "0"]
        name = buildah.build(where, f"localhost/reproduced:{attempt}", *arguments, dockerfile=DOCKERFILE, form="oci")
        seen.append(buildah("images", "--quiet", "--no-trunc", name))
    assert seen[0] == seen[1]


def crate(name, dependencies="", **sources):
    manifest = f'[package]\nname = "{name}"\nversion.workspace = true\nedition.workspace = true\npublish = false\n\n[dependencies]\n{dependencies}'
    return {"Cargo.toml": manifest} | {f"src/{stem}.rs": text for stem, text in sources.items()}


# Called as ours are, because the Dockerfile calls them so. Nothing from a registry: the builder reaches none.
CRATES = {
    "crates/schema": crate("schema", lib="pub fn said() -> String {\n    std::env::args().nth(1).expect(\"one word\")\n}\n"),
    "crates/otlp-rust": crate(
        "otlp-rust", 'schema = { path = "../schema" }\n', main='fn main() {\n    println!("compiled from source: {}", schema::said());\n}\n'
    ),
    "benches": crate("otlp-rust-bench", lib="", main="fn main() {}\n"),
}


def small_workspace(path, time):
    """Our manifest, profiles included, around small crates; every file is of this time."""
    context(path)
    shutil.copy(REPOSITORY / "Cargo.toml", path)
    for name, files in CRATES.items():
        for file, text in files.items():
            (path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (path / name / file).write_text(text)
    run("cargo", "generate-lockfile", "--offline", cwd=path)
    for one in path.rglob("*"):
        os.utime(one, (time, time))
    return path


def test_the_compiling_stages_make_the_binary_and_the_same_one_twice(buildah, bases, container, images, room):
    """manifests, dependencies and build as they stand, with this machine's Rust, on a workspace that compiles in seconds."""
    toolchain = run("rustc", "--print", "sysroot").stdout.strip()
    path = "/usr/local/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    buildah.load(debian_base("gcc", "libc6-dev"), "localhost/rust", PATH=path, CARGO_HOME="/usr/local/cargo", CARGO_NET_OFFLINE="true")
    # BINARY has this value anyway; buildah 1.28 sees no use of the stage when only the Dockerfile says so.
    arguments = [*bases, "--build-arg", "RUST_IMAGE=localhost/rust", "--build-arg", "BINARY=build"]
    arguments += ["--target", "runtime", "--volume", f"{toolchain}:/usr/local/toolchain:ro"]
    made = []
    # Of two times, in folders of two names: as old as a checkout of years ago, and of tomorrow.
    for name, when in [("a", 1_000_000_000), ("elsewhere", time.time() + 86_400)]:
        where = small_workspace(room / "source" / name, when)
        made.append(buildah.build(where, f"localhost/from-source:{name}", *arguments, dockerfile=DOCKERFILE))
    one, other = ((buildah.root(image) / "usr/local/bin/otlp-rust").read_bytes() for image in made)
    assert one == other, "the same sources give the same binary"
    assert b"crates/schema/src/lib.rs" in one and b"/src/crates" not in one, "places in the source are told without the builder's folders"
    assert buildah.config(made[0])["Cmd"] == buildah.config(images["runtime"])["Cmd"]
    images["from-source"] = made[0]
    code, said = container("from-source", arguments=["from a container"]).finish()
    assert (code, said.strip()) == (0, "compiled from source: from a container"), "the code, not what stood in its place for the dependencies"


def test_the_scanner_finds_nothing_unexplained():
    """What stays has its reason beside it: #checkov:skip."""
    program = REPOSITORY / ".tools/checkov/bin/checkov"
    done = run(program, "--file", DOCKERFILE, "--framework", "dockerfile", "--skip-download", "--compact", "--output", "json", check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["passed"] > 100
    assert [(one["check_id"], one["file_line_range"]) for one in found["results"]["failed_checks"]] == []


def listed(*patterns):
    return run("git", "ls-files", *patterns, cwd=REPOSITORY).stdout.split()


def test_only_what_is_needed_goes_to_the_builder(buildah, tmp_path):
    tree = tmp_path / "tree"
    strangers = ["data/catalog.db", "target/release/otlp-rust", ".tools/env", ".git/config", "docker/secrets/catalog-url", "otlp-rust.yaml"]
    for name in [*listed(), *strangers, "docker/prebuilt/otlp-rust"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    shutil.copy(REPOSITORY / ".dockerignore", tree)
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    root = buildah.root(buildah.build(tree, "localhost/everything", dockerfile=everything))
    sent = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    wanted = {"Cargo.toml", "Cargo.lock", "LICENSE", "docker/prebuilt/otlp-rust", *listed("crates", "benches")} - set(listed("benches/results"))
    assert sent == wanted


def manifests(folder):
    """What the stage `manifests` leaves: names and contents."""
    (command,) = re.findall(r"^RUN ((?:.*\\\n)*.*)$", stage("manifests"), re.MULTILINE)
    for name in ["/metadata", "/targets"]:
        command = re.sub(rf"(?<=[ <>]){name}\b", f"{folder}{name.replace('/', '.')}", command)
    done = subprocess.run(["sh", "-euc", command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_dependencies_are_compiled_anew_only_when_manifests_change(tmp_path):
    names = [name for name in listed("Cargo.toml", "Cargo.lock", "crates", "benches") if not name.startswith("benches/results")]

    def workspace(name):
        for path in names:
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, target)
        return tmp_path / name

    before = manifests(workspace("a"))
    assert {"Cargo.lock", "Cargo.toml", "crates/otlp-rust/Cargo.toml", "crates/otlp-rust/src/main.rs", "crates/schema/src/lib.rs"} <= set(before)
    assert all(path.endswith(("Cargo.toml", "Cargo.lock")) or text == "fn main() {}\n" for path, text in before.items())
    check = run("cargo", "metadata", "--no-deps", "--offline", "--format-version", "1", cwd=tmp_path / "a")
    targets = [target["src_path"] for package in json.loads(check.stdout)["packages"] for target in package["targets"]]
    assert targets and all(Path(path).exists() for path in targets)

    changed = workspace("b")
    (changed / "crates/schema/src/lib.rs").write_text("pub mod other;\n")
    (changed / "crates/schema/src/other.rs").write_text("pub struct New;\n")
    # The path of the workspace is not part of the result; in the image it is always the same.
    assert manifests(changed) == before

    manifest = workspace("c") / "crates/schema/Cargo.toml"
    manifest.write_text(manifest.read_text() + "\n[dev-dependencies.hex]\nversion = \"1\"\n")
    assert manifests(tmp_path / "c") != before
