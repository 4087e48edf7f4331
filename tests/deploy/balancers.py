"""Envoy and Nginx as processes: the shipped configuration, with nothing but addresses rewritten, on free loopback ports."""

import re
import subprocess
import time
from pathlib import Path

import grpc
import requests
import yaml

from platform_process import REPOSITORY, free_ports, stop_process
from programs import tool

ENVOY_CONFIG = REPOSITORY / "docker/envoy.yaml"
NGINX_CONFIG = REPOSITORY / "docker/nginx.conf"
# Ports of the platform; the shipped configurations listen on them and send to them.
GRPC, HTTP, API = 4317, 4318, 8080
# Envoy's own: administration, and of it what a scraper needs.
ADMIN, METRICS = 9901, 9902


def envoy_on_loopback(config, processes, listen):
    """What is shipped, for these processes: every listener moves to its free port, and the one name that stands for all
    processes becomes an endpoint for each of them. Nothing else changes."""

    def here(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def endpoint(process, port):
        return {"endpoint": {"address": here(port_of(process, port)), "health_check_config": {"port_value": process.http_port}}}

    config["admin"]["address"] = here(listen[ADMIN])
    for listener in config["static_resources"]["listeners"]:
        listener["address"] = here(listen[listener["address"]["socket_address"]["port_value"]])
    for cluster in config["static_resources"]["clusters"]:
        (locality,) = cluster["load_assignment"]["endpoints"]
        (shared,) = locality["lb_endpoints"]
        port = shared["endpoint"]["address"]["socket_address"]["port_value"]
        if port == ADMIN:
            shared["endpoint"]["address"] = here(listen[ADMIN])
        else:
            locality["lb_endpoints"] = [endpoint(process, port) for process in processes]
    return config


def nginx_on_loopback(config, processes, listen, folder):
    """As for Envoy: `listen PORT` and `server NAME:PORT` are moved, and what lies in /tmp goes to a folder of the test's own."""
    config = re.sub(r"listen (\d+)", lambda found: f"listen 127.0.0.1:{listen[int(found[1])]}", config)

    def server(found):
        process = processes[int(found[1]) - 1]
        return f"server 127.0.0.1:{port_of(process, int(found[2]))}"

    config = re.sub(r"server otlp-rust-(\d):(\d+)", server, config)
    return config.replace("/tmp/", f"{folder}/")


def port_of(process, port):
    return {GRPC: process.grpc_port, HTTP: process.otlp_port, API: process.http_port}[port]


class Balancer:
    """A front door: the three ports of the platform, served by several processes of it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.listen = dict(zip((GRPC, HTTP, API, ADMIN, METRICS), free_ports(5)))
        self.grpc_port, self.otlp_port, self.http_port = (self.listen[port] for port in (GRPC, HTTP, API))
        self.process = None

    # The names that `wire` uses.

    @property
    def otlp_url(self):
        return f"http://127.0.0.1:{self.otlp_port}"

    @property
    def http_url(self):
        return f"http://127.0.0.1:{self.http_port}"

    def new_channel(self):
        options = {"grpc.use_local_subchannel_pool": 1, "grpc.max_send_message_length": -1}
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=list(options.items()))

    def start(self, command, ready):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log_tail()}")
            time.sleep(0.05)
        return self

    def log_tail(self):
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def stop(self):
        stop_process(self.process)


class Envoy(Balancer):
    def __init__(self, folder, processes):
        super().__init__(folder)
        self.processes = processes
        config = envoy_on_loopback(yaml.safe_load(ENVOY_CONFIG.read_text()), processes, self.listen)
        path = self.folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(config))
        # Two workers: every worker has its connections to every process. The base id keeps Envoys of one machine apart.
        command = [tool("envoy"), "-c", path, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning"]
        self.start(command, lambda: self.healthy() == {process.http_port for process in processes})

    def healthy(self):
        """The API ports of the processes that every cluster takes for healthy."""
        try:
            answer = requests.get(f"http://127.0.0.1:{self.listen[ADMIN]}/clusters", params={"format": "json"}, timeout=2).json()
        except (requests.RequestException, ValueError):
            return set()
        unhealthy, seen = set(), set()
        for cluster in answer.get("cluster_statuses", ()):
            for host in cluster.get("host_statuses", ()):
                port = host["address"]["socket_address"]["port_value"]
                seen.add(port)
                status = host["health_status"]
                if status.get("eds_health_status", "HEALTHY") != "HEALTHY" or len(status) > 1:
                    unhealthy.add(port)
        return {
            process.http_port for process in self.processes
            if {process.grpc_port, process.otlp_port, process.http_port} <= seen - unhealthy
        }


class Nginx(Balancer):
    def __init__(self, folder, processes):
        super().__init__(folder)
        config = nginx_on_loopback(NGINX_CONFIG.read_text(), processes, self.listen, self.folder)
        path = self.folder / "nginx.conf"
        # In the foreground, so that it is stopped by its process id.
        path.write_text("daemon off;\n" + config)
        self.start([tool("nginx"), "-p", self.folder, "-c", path], self._answers)

    def _answers(self):
        try:
            return requests.get(f"{self.http_url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False
