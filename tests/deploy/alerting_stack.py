"""Prometheus, Alertmanager and whom it calls: the shipped configuration with targets, receivers and waits of a test."""

import copy
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from platform_process import REPOSITORY, free_ports
from programs import Running

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


class Prometheus(Running):
    """A Prometheus that runs in `folder`, where its configuration is."""

    def __init__(self, folder, port, *arguments):
        super().__init__(
            folder, port, "prometheus", "--config.file=prometheus-config.yaml", f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.path=prometheus", *arguments,
        )

    def query(self, expression):
        """The series of an instant query: [(labels, value)]."""
        answer = requests.post(f"{self.url}/api/v1/query", data={"query": expression}, timeout=60).json()
        assert answer["status"] == "success", f"{expression}\n{answer.get('error')}"
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def get(self, path):
        return requests.get(f"{self.url}/api/v1/{path}", timeout=60).json()["data"]

    def rules(self):
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def failing(self):
        """The rules whose evaluation fails."""
        return [f"{rule['name']}: {rule['lastError']}" for rule in self.rules() if rule.get("lastError")]


class Alertmanager(Running):
    """An Alertmanager that runs in `folder`."""

    def __init__(self, folder, port, config):
        super().__init__(
            folder, port, "prometheus-alertmanager", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
            "--storage.path=alertmanager", "--cluster.listen-address=",
        )


def write_yaml(path, what):
    path.write_text(yaml.safe_dump(what, sort_keys=False))


def shipped(name):
    return yaml.safe_load((MONITORING / name).read_text())


class AlertingStack:
    """A Prometheus that scrapes `targets` (host:port), an Alertmanager it alerts, a webhook at the end."""

    INTERVAL = "1s"

    def __init__(self, folder, targets):
        self.folder = Path(folder)
        prometheus_port, alertmanager_port = free_ports(2)
        self.webhook = Webhook()
        self.running = []
        (self.folder / "targets").mkdir(parents=True)
        write_yaml(self.folder / "prometheus-config.yaml", prometheus_for_tests(shipped("prometheus-config.yaml"), self.INTERVAL))
        write_yaml(self.folder / "otlp-rules.yml", rules_for_tests(shipped("otlp-rules.yml"), self.INTERVAL))
        write_yaml(self.folder / "alertmanager.yaml", alertmanager_for_tests(shipped("alertmanager.yaml"), self.INTERVAL, self.webhook.url))
        for name, listed in [("otlp-rust", targets), ("prometheus", [f"127.0.0.1:{prometheus_port}"]), ("alertmanager", [f"127.0.0.1:{alertmanager_port}"])]:
            write_yaml(self.folder / f"targets/{name}.yaml", [{"targets": listed}])
        try:
            self.running.append(Alertmanager(self.folder, alertmanager_port, "alertmanager.yaml"))
            self.prometheus = Prometheus(self.folder, prometheus_port)
            self.running.append(self.prometheus)
        except RuntimeError:
            self.stop()
            raise

    def stop(self):
        for one in reversed(self.running):
            one.stop()
        self.webhook.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
