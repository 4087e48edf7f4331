"""The trial's PostgreSQL, Redis and S3 store: which images, and their own commands, run here where that needs no image."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from balancers import tool
from chart_cases import CHART, ROOT, TRIAL, config_text, find, objects, pods
from platform_process import binary, free_ports

SECRETS = "/run/secrets/trial"


def part(some, name):
    """The container of one part of the trial."""
    return next(spec["containers"][0] for owner, _, spec in pods(some) if owner == f"otlp-service-{name}")


def secrets_of(some, name, folder):
    """Lays out what the part's pod mounts of the trial's Secret."""
    secret = find(some, "Secret", "otlp-service-trial")["stringData"]
    spec = next(spec for owner, _, spec in pods(some) if owner == f"otlp-service-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    for item in next(volume["secret"]["items"] for volume in spec["volumes"] if volume["name"] == "trial"):
        (folder / item["path"]).write_text(secret[item["key"]])
    return secret


def test_images_are_those_of_compose():
    """One list of what is needed to try the platform, whichever way."""
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    trial = yaml.safe_load((CHART / "values.yaml").read_text())["trial"]
    images = {name: trial[name]["image"] for name in ("postgresql", "redis", "s3")}
    assert images == {"postgresql": services["postgres"]["image"], "redis": services["redis"]["image"], "s3": services["s3"]["image"]}


def test_postgresql_is_the_one_that_the_url_names():
    some = objects(TRIAL)
    secret = find(some, "Secret", "otlp-service-trial")["stringData"]
    url = urlsplit(secret["catalog-url"])
    environment = {variable["name"]: variable["value"] for variable in part(some, "postgresql")["env"]}
    assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == (url.username, url.path[1:])
    assert environment["POSTGRES_PASSWORD_FILE"] == f"{SECRETS}/postgres-password" and url.password == secret["postgres-password"]
    mounts = {mount["mountPath"] for mount in part(some, "postgresql")["volumeMounts"] if mount["name"] == "data"}
    assert str(Path(environment["PGDATA"]).parent) in mounts, "a volume has lost+found in it: initdb wants a folder of its own"
    assert find(some, "Service", url.hostname)["spec"]["ports"][0]["port"] == url.port


def test_redis_wants_the_password_and_forgets_no_limit(tmp_path):
    some = objects(TRIAL)
    secret = secrets_of(some, "redis", tmp_path / "secrets")
    container = part(some, "redis")
    (port,) = free_ports(1)
    assert container["command"] == ["sh", "-c"]
    script = container["args"][0].replace(SECRETS, str(tmp_path / "secrets")).replace("/tmp/redis.conf", str(tmp_path / "redis.conf")).rstrip()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(["sh", "-c", f"{script} --bind 127.0.0.1 --port {port}"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ask(*command, password=""):
        environment = {**os.environ, "REDISCLI_AUTH": password} if password else os.environ
        return subprocess.run(["redis-cli", "-p", str(port), *command], env=environment, capture_output=True, text=True).stdout.split()

    try:
        password = urlsplit(secret["redis-url"]).password
        deadline = time.monotonic() + 30
        while ask("ping", password=password) != ["PONG"]:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert "NOAUTH" in ask("ping")
        assert ask("config", "get", "maxmemory-policy", password=password) == ["maxmemory-policy", "noeviction"]
        assert ask("config", "get", "save", password=password) == ["save"]
    finally:
        process.terminate()
        process.wait()


SESSION = r"""
ip link set lo up
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
weed_pid= otlp_pid=
trap 'kill -KILL $weed_pid $otlp_pid 2>/dev/null || true' EXIT
start_store() {
    bash weed.sh >>weed.log 2>&1 &
    weed_pid=$!
    sh post-start.sh >>post-start.log 2>&1
}
s3() { aws --endpoint-url http://127.0.0.1:9000 --region us-east-1 --cli-connect-timeout 5 "$@"; }
start_store
# Who has no key, or another's, gets nothing; the bucket is there.
s3 s3api head-bucket --bucket otlp-rust
if s3 --no-sign-request s3api list-objects-v2 --bucket otlp-rust >/dev/null 2>&1; then echo "the store is open"; exit 1; fi
if AWS_SECRET_ACCESS_KEY=other s3 s3api list-objects-v2 --bucket otlp-rust >/dev/null 2>&1; then echo "any key does"; exit 1; fi
# What listens beyond the pod.
ss -Hltn | awk '$4 !~ /^127[.]0[.]0[.]1:/ {print "open", $4}'
otlp-rust serve --config otlp-rust.yaml 2>serve.log >/dev/null &
otlp_pid=$!
for try in $(seq 300); do curl -fsS http://127.0.0.1:8090/readyz >/dev/null 2>&1 && break; sleep 0.1; done
otlp-rust demo --seconds 1 --rate 20 >/dev/null
count() { echo "spans $(curl -fsS 'http://127.0.0.1:8090/api/v1/sql?format=ndjson' -d 'SELECT count(*) AS n FROM spans')"; }
count
# The pod ends and comes again, with the same volume.
kill -TERM $weed_pid
wait $weed_pid || true
start_store
count
"""


def test_the_store_keeps_what_the_platform_writes(tmp_path):
    """SeaweedFS by the pod's own command, the bucket by its hook, the platform by its own configuration of the store; then a restart."""
    some = objects(TRIAL)
    container = part(some, "s3")
    secret = secrets_of(some, "s3", tmp_path / "secrets")
    (tmp_path / "data").mkdir()

    def here(words):
        return [word.replace(SECRETS, str(tmp_path / "secrets")).replace("-dir=/data", f"-dir={tmp_path}/data") for word in words]

    (tmp_path / "weed.sh").write_text("exec " + " ".join(f"'{word}'" for word in here([*container["command"], *container["args"]])) + "\n")
    hook = container["lifecycle"]["postStart"]["exec"]["command"]
    assert hook[:2] == ["sh", "-c"]
    (tmp_path / "post-start.sh").write_text(hook[2])
    store = yaml.safe_load(config_text(some))["store"]
    # The Service's name leads to the pod's port of the same number.
    service = find(some, "Service", urlsplit(store["s3"]["endpoint"]).hostname)["spec"]["ports"][0]
    assert service["targetPort"] == container["ports"][0]["containerPort"] == urlsplit(store["s3"]["endpoint"]).port == 9000
    (tmp_path / "key").write_text(secret["s3-secret-access-key"])
    store["s3"] |= {"endpoint": "http://127.0.0.1:9000", "secret_access_key_file": str(tmp_path / "key"), "access_key_id": secret["s3-access-key-id"]}
    # SeaweedFS has port 8080 of this network.
    server = {"data_dir": str(tmp_path / "catalog"), "http": "127.0.0.1:8090"}
    (tmp_path / "otlp-rust.yaml").write_text(json.dumps({"server": server, "store": store}))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "otlp-rust").symlink_to(binary("otlp-rust", "OTLP_RUST_BIN"))
    (programs / "weed").symlink_to(tool("weed"))
    path = [programs, ROOT / ".tools/handbook/bin", os.environ["PATH"], "/usr/sbin:/sbin"]
    environment = {key: value for key, value in os.environ.items() if not re.match("OTLP_RUST|AWS_", key)}
    environment |= {"PATH": ":".join(map(str, path)), "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": secret["s3-access-key-id"]}
    environment |= {"AWS_SECRET_ACCESS_KEY": secret["s3-secret-access-key"]}
    network = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-current-user", "--keep-caps", "--net"]
    done = subprocess.run([*network, "bash", "-euo", "pipefail", "-c", SESSION], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    logs = "".join(f"\n--- {name}\n{(tmp_path / name).read_text()[-3000:]}" for name in ("weed.log", "post-start.log", "serve.log") if (tmp_path / name).exists())
    assert done.returncode == 0, done.stdout + done.stderr + logs
    said = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(("open ", "spans "))]
    # Beyond the pod listen the S3 gateway and its own gRPC, to which the NetworkPolicy lets nobody.
    assert {address.rpartition(":")[2] for what, address in said if what == "open"} == {"9000", "19000"}, done.stdout
    ingress = find(some, "NetworkPolicy", "otlp-service-s3")["spec"]["ingress"]
    assert [port["port"] for rule in ingress for port in rule["ports"]] == [9000]
    before, after = (json.loads(text)["n"] for what, text in said if what == "spans")
    assert before == after > 0
