"""The chart grants no more than is needed: pods, secrets, networks, and what a scanner says of all of it."""

import json
import re
import subprocess

import pytest
import yaml

from chart_cases import CASES, ROOT, S3, TRIAL, config_text, find, nested, objects, over, pods, texts

HERE = ROOT / "tests" / "deploy"


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(case):
    """Pod Security Standard "restricted" and more, for every container of every pod."""
    for owner, _, spec in pods(objects(CASES[case])):
        assert spec["securityContext"]["runAsNonRoot"] is True, owner
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume]
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]} and context["runAsNonRoot"] is True
            assert set(container["resources"]) == {"requests", "limits"}
            assert "latest" not in container["image"] and re.search("[:@]", container["image"])


@pytest.mark.parametrize("case", CASES)
def test_no_secret_in_plain_text(case):
    """Nothing but the trial's Secret holds one, and the configuration refers to files."""
    some = objects(CASES[case])
    secrets = find(some, "Secret")
    assert bool(secrets) == bool(CASES[case].get("trial", {}).get("enabled"))
    values = {value for secret in secrets for key, value in secret["stringData"].items() if "password" in key or "secret" in key}
    for it in some:
        if it["kind"] != "Secret":
            text = json.dumps(it)
            assert not [value for value in values if value in text]
            assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", text)
    config = yaml.safe_load(config_text(some))
    assert "url" not in config["catalog"] and "secret_access_key" not in config["store"].get("s3", {})


def test_trials_passwords_are_random():
    def password(level):
        return find(objects(over(TRIAL, {"log": {"level": level}})), "Secret", "otlp-service-trial")["stringData"]["postgres-password"]

    first, second = password("debug"), password("trace")
    assert first != second and len(first) >= 32


def egress(some, name="otlp-network-policy"):
    """{port: peers, or None for anywhere} of a NetworkPolicy."""
    rules = find(some, "NetworkPolicy", name)["spec"]["egress"]
    return {port["port"]: rule.get("to") for rule in rules for port in rule["ports"]}


def test_nothing_gets_out_that_is_not_configured():
    assert set(egress(objects(S3))) == {53, 5432, 443}
    assert set(egress(objects(S3), "otlp-service-migrate")) == {53, 5432}
    with_redis = over(S3, nested("redis.existingSecret.name", "redis"), nested("networkPolicy.egress.redis.port", 6380))
    assert set(egress(objects(with_redis))) == {53, 5432, 443, 6380}
    assert set(egress(objects(CASES["another s3"]))) == {53, 5432, 9000}
    # Who the pod is, it asks only where no key is given.
    by_identity = egress(objects(CASES["s3 by the pod's identity"]))
    assert set(by_identity) == {53, 5432, 443, 80, 988}
    assert {peer["ipBlock"]["cidr"] for peer in by_identity[80]} == {"169.254.169.254/32", "169.254.170.23/32", "169.254.169.252/32"}
    trial = egress(objects(TRIAL))
    assert set(trial) == {53, 5432, 6379, 9000} and all(trial.values()), "the trial's own pods, nothing else"
    assert set(egress(objects(CASES["istio"]))) == {53, 5432, 443, 15012}


@pytest.mark.parametrize("case", CASES)
def test_open_destinations_are_warned_of(case):
    """Each port on which the NetworkPolicy lets pods reach anywhere stands in NOTES.txt, and no other."""
    some = objects(CASES[case])
    anywhere = set()
    if find(some, "NetworkPolicy"):
        rules = find(some, "NetworkPolicy", "otlp-network-policy" if case != "another name" else "telemetry-network-policy")["spec"]["egress"]
        # What is given as networkPolicy.egress.extra is the user's own.
        extra = CASES[case].get("networkPolicy", {}).get("egress", {}).get("extra", [])
        anywhere = {str(port["port"]) for rule in rules if "to" not in rule and rule not in extra for port in rule["ports"]}
    warning = re.search(r"WARNING: pods may reach any address on the ports of (.*):", texts(CASES[case])["otlp-rust/templates/NOTES.txt"])
    assert set(re.findall(r"port (\d+)", warning[1] if warning else "")) == anywhere


def test_who_gets_in():
    rules = find(objects(S3), "NetworkPolicy", "otlp-network-policy")["spec"]["ingress"]
    by_peer = {json.dumps(peer, sort_keys=True): {port["port"] for port in rule["ports"]} for rule in rules for peer in rule["from"]}
    assert all("from" in rule and "ports" in rule for rule in rules)
    mesh = {"namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}}}
    assert by_peer[json.dumps(mesh, sort_keys=True)] == {4317, 4318}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert by_peer[json.dumps(monitoring, sort_keys=True)] == {9090, 8080}


def test_role_grants_nothing_by_default():
    role = find(objects(S3), "Role", "otlp-service-role")
    assert role["rules"] == []
    subjects = find(objects(S3), "RoleBinding", "otlp-service-binding")["subjects"]
    assert [subject["name"] for subject in subjects] == ["otlp-service-account"]


def test_administration_is_not_exposed():
    """Neither an Ingress nor a route leads to /api/v1/admin, not even as part of a longer prefix."""
    some = objects(CASES["everything"])
    paths = [path["path"] for it in find(some, "Ingress") for rule in it["spec"]["rules"] for path in rule["http"]["paths"]]
    for it in find(some, "HTTPRoute"):
        paths += [match["path"]["value"] for rule in it["spec"]["rules"] for match in rule["matches"]]
    assert paths and not [path for path in paths if "/api/v1/admin/deletions".startswith(path.rstrip("/") + "/") or path == "/"]


def test_outside_the_cluster_there_is_only_otlp():
    """The API has no authentication of its own: no Service that the world may reach has a port besides OTLP's."""
    services = find(objects(CASES["everything"]), "Service")
    outside = [it for it in services if it["spec"].get("type", "ClusterIP") != "ClusterIP"]
    assert [it["metadata"]["name"] for it in outside] == ["otlp-service-external"]
    assert {port["port"] for it in outside for port in it["spec"]["ports"]} == {4317, 4318}
    inside = next(it for it in services if it["metadata"]["name"] == "otlp-service")
    assert {4317, 4318, 8080, 9090} <= {port["port"] for port in inside["spec"]["ports"]}


def test_mesh_denies_by_default():
    policy = find(objects(CASES["istio"]), "AuthorizationPolicy", "otlp-service")["spec"]
    assert policy["action"] == "ALLOW"
    rules = {port: rule for rule in policy["rules"] for operation in rule["to"] for port in operation["operation"]["ports"]}
    assert rules["4317"]["from"] == [{"source": {"principals": ["*"]}}]
    assert set(rules["8080"]["from"][0]["source"]["namespaces"]) == {"istio-system", "istio-ingress", "monitoring", "otlp-system"}
    assert rules["9090"]["to"][0]["operation"]["paths"] == ["/metrics"]
    assert find(objects(CASES["istio"]), "PeerAuthentication", "otlp-service")["spec"]["mtls"] == {"mode": "STRICT"}


def test_checkov(folder):
    """Everything that the scanner says is explained in checkov.yaml, and what is explained there still happens."""
    explained = yaml.safe_load((HERE / "checkov.yaml").read_text())
    rendered = folder / "checkov"
    for case in ("trial", "istio", "everything, split", "examples/plain-manifests.yaml"):
        for name, text in texts(CASES[case]).items():
            if name.endswith(".yaml") and text.strip():
                path = rendered / case.replace("/", "-") / name.replace("/", "-")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    command = [ROOT / ".tools/checkov/bin/checkov", "--directory", rendered, "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run([*command, "--quiet", "--compact", "--output", "json"], capture_output=True, text=True, cwd=folder)
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0 and report["summary"]["passed"] > 500
    found = {}
    for failed in report["results"]["failed_checks"]:
        kind, _, name = failed["resource"].split(".")[:3]
        found.setdefault(failed["check_id"], set()).add(f"{kind} {name}")
    for check, resources in found.items():
        assert check in explained, f"{check} {resources}: mend it, or say in checkov.yaml why it stays"
        strange = [resource for resource in resources if not re.fullmatch(explained[check]["where"], resource)]
        assert not strange, f"{check} is explained, but not for {strange}"
    assert set(explained) == set(found), "explanations of what no longer happens"
