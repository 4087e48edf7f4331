"""Whom the Alertmanager that deploy.sh installs calls: its options, and the routes that it is given, by the real Helm and amtool."""

import re
import subprocess

import pytest
import yaml

from balancers import tool
from conftest import REPOSITORY
from script_runs import Run, environment_of, platform_call, stack_call, values_of
from script_runs import cluster, deploy, environment, server  # noqa: F401 (fixtures)
from stand_ins.cluster import Cluster

SHIPPED = REPOSITORY / "monitoring/alertmanager.yaml"
KEYS = ("slack-url", "pagerduty-first-line", "pagerduty-second-line")
OPTIONS = ("--trial", "--without-istio", "--alert-secret", "on-call", "--runbook-url", "https://handbook.example.com/runbooks.html")


def test_alerts_go_to_the_addresses_in_the_secret(cluster, deploy, environment):
    run = deploy(*OPTIONS, code=1)
    assert "FAILED at step 3 of 7: monitoring" in run.error and "the secret on-call is not in the namespace monitoring" in run.error
    assert "kubectl create secret generic on-call --namespace monitoring --from-file=slack-url=FILE" in run.error
    assert not any("kube-prometheus-stack" in call for call in cluster.calls if call[0] == "helm" and "upgrade" in call), "its pod would wait for the Secret"

    cluster.put("secrets", "monitoring", "on-call", data={"slack-url": "aHR0cHM6Ly9zbGFjaw==", "pagerduty-first-line": "a2V5"})
    run = Run(run.go_on(), environment, 0)
    assert "the secret on-call has no pagerduty-second-line" in run.error and "aHR0cHM6Ly9zbGFjaw==" not in run.out + run.error
    assert values_of(stack_call(cluster), "--values")[1:] == [str(REPOSITORY / "scripts/deploy/values/alertmanager.yaml")]
    assert "prometheusRule.runbookUrl=https://handbook.example.com/runbooks.html" in values_of(platform_call(cluster), "--set-string")
    assert "it tells nobody yet" not in run.out


def test_a_dry_run_says_that_the_secret_is_missing(cluster, deploy):
    run = deploy(*OPTIONS, "--dry-run", yes=())
    assert "the secret on-call is not in monitoring yet" in run.error and "alertmanager.yaml" in " ".join(run.commands())


def test_someone_elses_alertmanager_keeps_its_routes(cluster, deploy):
    cluster.put("namespaces", "theirs", "theirs", annotations={})
    cluster.put("customresourcedefinitions", "", "prometheuses.monitoring.coreos.com")
    cluster.put("prometheuses.monitoring.coreos.com", "theirs", "theirs")
    run = deploy(*OPTIONS)
    assert "its Alertmanager keeps its routes" in run.error
    assert "prometheusRule.runbookUrl=https://handbook.example.com/runbooks.html" in values_of(platform_call(cluster), "--set-string")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--without-monitoring", "--alert-secret", "x"], "--without-monitoring makes none"),
        (["--runbook-url", "runbooks.html"], "--runbook-url is an address"),
        (["--runbook-url", "https://a.example/x,y=z"], "--runbook-url is an address"),
        (["--alert-secret", "a b"], "is no host name or name of a Secret"),
    ],
)
def test_wrong_usage(cluster, deploy, options, said):
    assert said in deploy("--trial", *options, code=2).error and not cluster.calls


# --- what Alertmanager is told -----------------------------------------------------------------------------------------------

# What kube-prometheus-stack has by itself, as far as the values touch it: maps of both are merged, lists are not.
STACK = """\
alertmanager:
  config:
    global: {resolve_timeout: 5m}
    inhibit_rules:
      - {source_matchers: ['alertname = InfoInhibitor'], target_matchers: ['severity = info'], equal: [namespace]}
    route:
      group_by: [namespace]
      group_wait: 30s
      group_interval: 5m
      repeat_interval: 12h
      receiver: "null"
      routes: [{receiver: "null", matchers: ['alertname = "Watchdog"']}]
    receivers: [{name: "null"}]
    templates: [/etc/alertmanager/config/*.tmpl]
  alertmanagerSpec:
    volumes: []
    volumeMounts: []
"""


@pytest.fixture(scope="module", params=[3, 4], ids=["helm3", "helm4"])
def told(request, tmp_path_factory):
    """The values of Alertmanager after Helm has merged the stack's own with what deploy.sh gives it; its configuration is a file as well."""
    cluster = Cluster()
    cluster.put("namespaces", "monitoring", "monitoring", annotations={})
    cluster.put("secrets", "monitoring", "on-call", data=dict.fromkeys(KEYS, "eA=="))
    run = Run([REPOSITORY / "scripts/deploy.sh", "--yes", "--without-check", *OPTIONS], environment_of(cluster), 0)
    assert "the secret on-call" not in run.error
    call = stack_call(cluster)
    cluster.close()

    folder = tmp_path_factory.mktemp("stack")
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: kube-prometheus-stack, version: 1.0.0}")
    (folder / "values.yaml").write_text(STACK)
    (folder / "templates/all.yaml").write_text("{{ toYaml .Values.alertmanager }}")
    given = [word for option in ("--values", "--set-json") for value in values_of(call, option) for word in (option, value)]
    helm = REPOSITORY / f".tools/kubernetes/helm{request.param}"
    values = yaml.safe_load(subprocess.run([helm, "template", "x", folder, *given], check=True, capture_output=True, text=True).stdout)
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(values["config"]))
    return values, folder / "alertmanager.yaml"


def amtool(*arguments):
    done = subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def receivers(config, labels):
    return amtool("config", "routes", "test", f"--config.file={config}", *(f"{name}={text}" for name, text in labels.items()))


def test_amtool_accepts_it(told):
    assert "SUCCESS" in amtool("check-config", told[1])


def test_each_alert_goes_where_the_shipped_routes_send_it(told):
    rules = [rule for group in yaml.safe_load((REPOSITORY / "monitoring/otlp-rules.yml").read_text())["groups"] for rule in group["rules"] if "alert" in rule]
    for labels in {(rule["alert"], *sorted(rule["labels"].items())) for rule in rules}:
        labels = {"alertname": labels[0]} | dict(labels[1:])
        assert receivers(told[1], labels) == receivers(SHIPPED, labels) != "null", labels


def test_what_the_stacks_own_rules_say_wakes_nobody(told):
    for labels in ({"alertname": "Watchdog", "severity": "none"}, {"alertname": "KubeSchedulerDown", "severity": "critical"}, {"alertname": "NotOtlpDown", "severity": "critical"}):
        assert receivers(told[1], labels) == "null"


def test_the_receivers_read_what_is_mounted(told, deploy):
    values, config = told
    (mount,), (volume,) = values["alertmanagerSpec"]["volumeMounts"], values["alertmanagerSpec"]["volumes"]
    assert mount["name"] == volume["name"] and volume["secret"] == {"secretName": "on-call"}
    read = set(re.findall(r"_file: (\S+)", config.read_text()))
    assert read == {f"{mount['mountPath']}/{key}" for key in KEYS}
    assert f"its keys: {' '.join(KEYS)}" in deploy("--help", yes=()).out
