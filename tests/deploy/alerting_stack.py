"""Prometheus, Alertmanager and whom it calls: the shipped configuration with targets, receivers and waits of a test."""

import copy
import json
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from balancers import tool
from platform_process import REPOSITORY, free_ports

MONITORING = REPOSITORY / "monitoring"


def prometheus_for_tests(config, interval):
    """The shipped configuration in a hurry: everything happens each `interval`. What it scrapes and whom it alerts stands
    in files beside it, which are the test's own."""
    config = copy.deepcopy(config)
    config["global"] |= {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
    return config


def rules_for_tests(rules, interval):
    """The shipped rules without patience: the same expressions, labels and texts, but an alert fires after `interval`."""
    rules = copy.deepcopy(rules)
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = interval
            rule.pop("keep_firing_for", None)
    return rules


def alertmanager_for_tests(config, interval, webhook):
    """The shipped routes, with every receiver a webhook at `webhook`/NAME instead of a pager or a mail server, and no waits."""
    config = copy.deepcopy(config)
    for key in [key for key in config.get("global", {}) if key != "resolve_timeout"]:
        del config["global"][key]
    config["receivers"] = [
        {"name": receiver["name"], "webhook_configs": [{"url": f"{webhook}/{receiver['name']}", "send_resolved": True}]}
        for receiver in config["receivers"]
    ]

    def hurry(route):
        route |= {key: interval for key in ("group_wait", "group_interval") if key in route}
        for child in route.get("routes", ()):
            hurry(child)

    hurry(config["route"])
    return config


class Webhook:
    """Receives what Alertmanager sends, and keeps it."""

    def __init__(self):
        self.notifications = []  # (receiver's name, status, labels, annotations), one for each alert of each message
        stack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in message["alerts"]:
                    stack.notifications.append((self.path.strip("/"), alert["status"], alert["labels"], alert["annotations"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, name="webhook", daemon=True).start()

    def forget(self):
        """From now on only what is still to come counts."""
        self.notifications.clear()

    def wait_for(self, alert, status, receiver, seconds=60, **labels):
        """The first notification that this receiver gets of this alert with these labels: its (labels, annotations)."""
        deadline = time.monotonic() + seconds
        while True:
            for to, said, found, annotations in list(self.notifications):
                if (to, said, found["alertname"]) == (receiver, status, alert) and labels.items() <= found.items():
                    return found, annotations
            if time.monotonic() > deadline:
                heard = sorted({(to, said, found["alertname"]) for to, said, found, _ in self.notifications})
                raise AssertionError(f"{receiver} did not hear within {seconds} s that {alert} is {status}; what was heard: {heard}")
            time.sleep(0.1)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class AlertingStack:
    """A Prometheus that scrapes `targets` (host:port), an Alertmanager it alerts, a webhook at the end."""

    INTERVAL = "1s"

    def __init__(self, folder, targets):
        self.folder = Path(folder)
        self.prometheus_port, self.alertmanager_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.prometheus_port}"
        self.webhook = Webhook()
        self.processes = []
        self._configure(targets)
        try:
            self._start_both()
        except RuntimeError:
            self.stop()
            raise

    def _start_both(self):
        self._start(
            "alertmanager", self.alertmanager_port, tool("prometheus-alertmanager"), "--config.file=alertmanager.yaml",
            f"--web.listen-address=127.0.0.1:{self.alertmanager_port}", "--storage.path=alertmanager", "--cluster.listen-address=",
        )
        self._start(
            "prometheus", self.prometheus_port, tool("prometheus"), "--config.file=prometheus-config.yaml",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}", "--storage.tsdb.path=prometheus",
        )

    def _configure(self, targets):
        def shipped(name):
            return yaml.safe_load((MONITORING / name).read_text())

        def write(name, config):
            (self.folder / name).write_text(yaml.safe_dump(config, sort_keys=False))

        (self.folder / "targets").mkdir(parents=True)
        write("prometheus-config.yaml", prometheus_for_tests(shipped("prometheus-config.yaml"), self.INTERVAL))
        write("otlp-rules.yml", rules_for_tests(shipped("otlp-rules.yml"), self.INTERVAL))
        write("alertmanager.yaml", alertmanager_for_tests(shipped("alertmanager.yaml"), self.INTERVAL, self.webhook.url))
        write("targets/otlp-rust.yaml", [{"targets": targets}])
        write("targets/prometheus.yaml", [{"targets": [f"127.0.0.1:{self.prometheus_port}"]}])
        write("targets/alertmanager.yaml", [{"targets": [f"127.0.0.1:{self.alertmanager_port}"]}])

    def _start(self, name, port, *command):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        deadline = time.monotonic() + 30
        while True:
            try:
                if requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=2).status_code == 200:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()[-3000:]}")
            time.sleep(0.05)

    def query(self, expression):
        """The series of an instant query: [(labels, value)]."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", answer
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def recorded(self):
        """Names of all recording rules, and of those whose evaluation fails."""
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        failing = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]
        return sorted({rule["name"] for rule in rules if rule["type"] == "recording"}), failing

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.webhook.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
