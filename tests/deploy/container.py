"""Builds images with buildah and runs them with runc: no daemon, no registry. The bases are made here with debootstrap.

Making a base takes a minute or two; it is kept in ~/.cache/otlp-rust/base (XDG_CACHE_HOME) and made again when it is not there.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "otlp-rust" / "base"
SUITE = "bookworm"
# What gcr.io/distroless/cc-debian12 has that the binary uses.
DISTROLESS = ["libc6", "libgcc-s1", "ca-certificates"]
PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"


def run(*command, check=True, **options):
    """Runs a command; what it said is part of the error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def cached(name, make):
    """The file `name` of the cache; `make(path)` writes it if it is not there."""
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{os.getpid()}-{name}")
        try:
            make(part)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def mirror():
    """Where Debian's packages come from: where this machine has them from, if it is one of Debian's."""
    if url := os.environ.get("DEBIAN_MIRROR"):
        return url
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}", "Created-By: Packages", check=False)
    urls = [url for url in listed.stdout.split() if "security" not in url]
    return urls[0] if urls else "https://deb.debian.org/debian"


def debian_base(*packages):
    """A tar file of a small Debian, with these packages."""

    def make(path):
        with tempfile.TemporaryDirectory(prefix="otlp-rust-debian-") as folder:
            root = Path(folder) / "root"
            run("debootstrap", "--variant=minbase", f"--include={','.join(['ca-certificates', *packages])}", SUITE, root, mirror())
            run("tar", "-C", root, "-czf", path, "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*", ".")

    return cached("-".join(["debian", SUITE, *packages]) + ".tar.gz", make)


def distroless_base():
    """A tar file of what a dynamically linked program needs, and nothing that could be called."""

    def make(path):
        with tempfile.TemporaryDirectory(prefix="otlp-rust-distroless-") as folder:
            debian, root = Path(folder) / "debian", Path(folder) / "root"
            debian.mkdir()
            run("tar", "-C", debian, "-xzf", debian_base())
            for name in ["usr/lib", "usr/lib64", "tmp", "proc", "sys", "dev", "var/lib", "etc"]:
                (root / name).mkdir(parents=True)
            for name in ["lib", "lib64"]:
                (root / name).symlink_to(f"usr/{name}")
            (root / "tmp").chmod(0o1777)
            (root / "etc/passwd").write_text(PASSWD)
            (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
            for package in DISTROLESS:
                # With the architecture in its name, where a package may be installed for several.
                (listed,) = [path for path in (debian / "var/lib/dpkg/info").glob(f"{package}*.list") if path.stem.partition(":")[0] == package]
                for name in listed.read_text().split():
                    source, target = debian / name[1:], root / name[1:]
                    # Nothing to call, nothing to read: ca-certificates brings a script and examples of scripts.
                    if "bin/" in name or "/doc/" in name or not source.exists() or (source.is_dir() and (not source.is_symlink() or target.exists())):
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, target, follow_symlinks=False)
            shutil.copytree(debian / "etc/ssl", root / "etc/ssl", symlinks=True, dirs_exist_ok=True)
            run("tar", "-C", root, "-czf", path, ".")

    key = hashlib.sha256(repr((DISTROLESS, PASSWD)).encode()).hexdigest()[:12]
    return cached(f"distroless-{key}.tar.gz", make)


class Buildah:
    """A store of images in a folder of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.roots = {}
        # With overlay file systems layers are stacked; where they do not work each image is a copy, which takes longer.
        for driver in ["overlay", "vfs"]:
            self.options = ["--storage-driver", driver, "--root", self.folder / driver, "--runroot", self.folder / f"run-{driver}"]
            try:
                self("mount", self("from", "scratch"))
                return
            except RuntimeError:
                if driver == "vfs":
                    raise

    def close(self):
        """Unmounts everything; the folder may go then."""
        self("rm", "--all", check=False)

    def __call__(self, command, *arguments, **options):
        return run("buildah", *self.options, command, *arguments, **options).stdout.strip()

    def load(self, tar, name, **env):
        """Makes an image of a tar file, with this environment."""
        container = self("from", "scratch")
        self("add", "--quiet", container, tar, "/")
        for variable, value in env.items():
            self("config", "--env", f"{variable}={value}", container)
        self("commit", "--quiet", container, name)
        self("rm", container)
        return name

    def build(self, context, name, *arguments, dockerfile=None, form="docker"):
        """`docker build`. Of the two forms of images, Docker's knows health checks."""
        given = ["--file", dockerfile] if dockerfile else []
        # Only the end of a stage is kept: without overlay file systems a layer is a copy of everything.
        options = ["--isolation", "chroot", "--format", form, "--pull-never", "--layers=false"]
        self("bud", *options, *given, "--tag", name, *arguments, context)
        return name

    def config(self, image):
        """What the image says about how to run it."""
        found = json.loads(self("inspect", "--type", "image", image))["Docker"]["config"]
        # The name of the container in which it was built.
        found.pop("Hostname", None)
        return found

    def root(self, image):
        """The image's file system, as a folder. Containers share it: they cannot write to it."""
        if image not in self.roots:
            self.roots[image] = Path(self("mount", self("from", "--pull-never", image)))
        return self.roots[image]


class Container:
    """An image that runs under runc: its own user, no capabilities, a read-only root, a network of its own with nothing but loopback.

    It runs what the image says, unless `arguments` (in place of CMD) or `command` (in place of both) say otherwise.
    """

    def __init__(self, buildah, image, folder, arguments=None, command=None, env=None, data=None, network_of=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        # The name is also that of a control group.
        self.name = f"otlp-rust-{os.getpid()}-{self.folder.name}"
        self.log_path = self.folder / "log"
        config = buildah.config(image)
        self.health = config["Healthcheck"]["Test"] if config.get("Healthcheck") else None
        run("runc", "spec", cwd=self.folder)
        spec = json.loads((self.folder / "config.json").read_text())
        user, _, group = config["User"].partition(":")
        process = spec["process"]
        process |= {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group)},
            "args": command or [*config["Entrypoint"], *(config["Cmd"] if arguments is None else arguments)],
            "env": config["Env"] + [f"{name}={value}" for name, value in (env or {}).items()],
            "cwd": config["WorkingDir"],
            "capabilities": {kind: [] for kind in process["capabilities"]},
        }
        process.pop("rlimits", None)
        spec["root"] = {"path": str(buildah.root(image)), "readonly": True}
        if data is not None:
            (volume,) = config["Volumes"]
            spec["mounts"].append({"destination": volume, "type": "bind", "source": str(data), "options": ["bind", "rw", "nosuid", "nodev", "noexec"]})
        if network_of is not None:
            (network,) = [one for one in spec["linux"]["namespaces"] if one["type"] == "network"]
            network["path"] = f"/proc/{network_of.pid}/ns/net"
        (self.folder / "config.json").write_text(json.dumps(spec))
        self.process = None

    def _runc(self, *arguments, **options):
        return run("runc", "--root", self.folder.parent / "runc", *arguments, **options)

    def start(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["runc", "--root", self.folder.parent / "runc", "run", "--bundle", self.folder, self.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        # Until it runs, or has run already.
        while self.process.poll() is None and self._state().get("status") not in ("running", "stopped"):
            time.sleep(0.02)
        return self

    def _state(self):
        seen = self._runc("state", self.name, check=False)
        return json.loads(seen.stdout) if seen.returncode == 0 else {}

    def finish(self, timeout=60):
        """Waits for the end; the exit code and all that was said."""
        return self.process.wait(timeout), self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def pid(self):
        """The process inside, as seen from outside."""
        return self._state()["pid"]

    def execute(self, *command):
        """Runs a command beside the process, as `docker exec` does."""
        return self._runc("exec", self.name, *command, check=False)

    def check_health(self):
        """What a container engine does every few seconds."""
        kind, *command = self.health
        assert kind == "CMD", "CMD-SHELL needs a shell"
        return self.execute(*command)

    def wait_until_healthy(self, timeout=60):
        deadline = time.monotonic() + timeout
        while (seen := self.check_health()).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"never healthy: {seen.stdout}{seen.stderr}\n{self.log()}")
            time.sleep(0.2)
        return self

    def stop(self, timeout=60):
        """SIGTERM to the process inside; its exit code."""
        self._runc("kill", self.name, "TERM", check=False)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no exit {timeout} s after SIGTERM:\n{self.log()}") from None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self._runc("kill", self.name, "KILL", check=False)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        self._runc("delete", "--force", self.name, check=False)
