"""The torture harness: a short run of both topologies, and proof that it would notice what it looks for."""

import json
import os
import shlex
import shutil
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from torture import __main__ as main
from torture import faults, report, schedule
from torture.availability import Availability
from torture.faults import effect
from torture.ledger import ACKED, Ledger, Request, compare
from torture.proxies import HANG, MUTE, REFUSE, SLOW, Network, Proxy
from torture.run import Run
from torture.topologies import Local

REPOSITORY = Path(__file__).resolve().parents[2]
# Long enough for one fault of each kind at least; `make torture` runs for minutes.
SECONDS, EVERY = 48, 1.7


def test_a_short_run_keeps_every_promise(tmp_path):
    table = tmp_path / "table.md"
    seed = os.environ.get("E2E_SEED", "20")
    command = [sys.executable, "-m", "torture", "--seed", seed, "--minutes", str(SECONDS / 60), "--every", str(EVERY)]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY / 'tests/e2e'}"}
    done = subprocess.run([*command, "--window", "12", "--out", table], env=environment, timeout=280, text=True, capture_output=True)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    results = {result["topology"]: result for result in json.loads(table.with_suffix(".json").read_text())}
    assert set(results) == {"local", "cluster"}
    for result in results.values():
        assert result["acked"] > 500, "the clients sent next to nothing"
        # A kill that was aimed and missed is told apart in `faults`; it took effect all the same.
        took_effect = {planned for planned, counted, *_ in result["timeline"] if counted}
        assert set(result["kinds"]) - took_effect == set(), result["notes"]
        assert result["reads"] - result["reads_unanswered"] > 50
    left_out = [what for result in results.values() for what in result["left_out"]]
    if left_out:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"everything held, but this was left out: {left_out}")


def window_with(*ids):
    ledger = Ledger("t")
    request = Request(1, "c", "logs", "t-000", b"", {"logs": list(ids)})
    window = ledger.windows[0]
    window.begin(request)
    return window, request


def row(one, n=1, owner="c"):
    return {"id": one, "n": n, "owner": owner}


def test_the_ledger_tells_lost_from_in_flight():
    window, request = window_with("a", "b")
    assert compare(window, "logs", window.acked("logs"), []).kinds() == {}
    assert compare(window, "logs", window.acked("logs"), [row("a")]).kinds() == {}, "in flight may be there"
    window.end(request, ACKED)
    assert compare(window, "logs", window.acked("logs"), [row("a")]).kinds() == {"lost": ["b"]}
    assert compare(window, "logs", window.acked("logs"), [row("a"), row("b")]).kinds() == {}


def test_the_ledger_tells_what_else_is_wrong():
    window, request = window_with("a", "b")
    window.end(request, ACKED)
    rows = [row("a", n=2), row("b", owner=None), row("x")]
    found = compare(window, "logs", window.acked("logs"), rows).kinds()
    assert found == {"duplicated": ["a"], "stripped": ["b"], "unknown": ["x"]}


def test_a_seed_decides_the_schedule():
    kinds = [(kind.name, kind.weight) for kind in faults.KINDS]
    one, again, other = (schedule.plan(seed, "cluster", kinds, 600, 2.5) for seed in (7, 7, 8))
    assert one == again and one != other
    assert {fault.kind for fault in one} == {name for name, _ in kinds}
    assert len(one) > 200 and all(a.at < b.at for a, b in zip(one, one[1:]))


def test_time_without_an_ack_counts_from_the_start():
    availability = Availability()
    availability.begin()
    time.sleep(0.3)
    assert availability.silence() >= 0.3
    availability.acked()
    assert availability.longest[0] >= 0.3 and availability.silence() < 0.3


@pytest.mark.parametrize("given", [
    "--seed 7",
    "--seed 7 --minutes 0.7",
    "--seed 7 --minutes 13 --every 1.3",
    f"--seed 7 --minutes {40 / 60} --every {1 / 3} --topology cluster --window 12 --clients 6 --keep --out {os.devnull}",
])
def test_the_replay_command_repeats_the_run(given):
    options = main.parser().parse_args(shlex.split(given))
    command = shlex.split(main.replay(options))
    # As make understands it, whoever runs the tests with make.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    told = subprocess.run([*command, "-n"], cwd=REPOSITORY, env=environment, check=True, text=True, capture_output=True).stdout
    (line,) = [line for line in told.splitlines() if line.startswith("scripts/torture.sh ")]
    again = main.parser().parse_args(shlex.split(line)[1:])
    kinds = [(kind.name, kind.weight) for kind in faults.KINDS]
    plans = [schedule.plan(one.seed, "cluster", kinds, one.minutes * 60, one.every) for one in (options, again)]
    assert plans[0] == plans[1] != []
    assert vars(options) | {"keep": False, "out": None} == vars(again)


@pytest.fixture
def proxy():
    """A proxy before a server that answers what it is sent."""
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(100):
                self.request.sendall(data)

    network = Network()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Proxy(network, server.server_address[1])
        network.stop()
        server.shutdown()


@pytest.mark.parametrize("mode", [REFUSE, HANG, SLOW, MUTE])
def test_a_fault_counts_only_if_it_meets_something(proxy, mode, monkeypatch):
    monkeypatch.setattr(effect, "PATIENCE_SECONDS", 0.2)
    ended = threading.Event()

    def talk():
        while not ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as client:
                    while not ended.is_set():
                        client.sendall(b"x")
                        client.recv(1)
                        time.sleep(0.01)
            except OSError:
                pass

    with pytest.raises(effect.NoEffect):
        effect.disturb([proxy], mode, 0.1, delay=0.01)
    client = threading.Thread(target=talk)
    client.start()
    try:
        effect.disturb([proxy], mode, 0.1, delay=0.01)
    finally:
        ended.set()
        client.join()


def test_what_did_not_happen_is_told_and_not_counted(folder):
    def miss(run, fault):
        raise effect.NoEffect("nobody was there")

    def fail(run, fault):
        raise OSError("no such thing")

    run = Run(Local(folder / uuid.uuid4().hex[:12], print), 1, seconds=1, every=1)
    try:
        for action in (miss, fail, lambda run, fault: "another name", lambda run, fault: None):
            run.strike(schedule.Fault(0, 0.0, "a kind", 0.5, 0.5), action)
        result = report.result(run)
    finally:
        run.topology.stop(keep=False)
    assert result["faults"] == {"a kind": 1, "another name": 1} and result["fault_count"] == 2
    assert result["without_effect"] == {"a kind": 2}
    assert "nobody was there" in result["notes"][0] and "no such thing" in result["notes"][1]


@pytest.mark.parametrize("damage", ["lost", "duplicated"])
def test_planted_damage_is_found(folder, damage):
    """One part less, or one part twice: the run must fail and say which items that were."""
    planted = {}

    def plant(run):
        node = run.topology.nodes[0]
        with node.lock:
            node.kill()
            planted["rows"] = (end_a_part if damage == "lost" else repeat_a_part)(node.platform.data_dir)
            node.start()
        node.wait_ready(60)

    topology = Local(folder / uuid.uuid4().hex[:12], print)
    run = Run(topology, 1, seconds=4, every=1000, pause=0.02, plant=plant)
    try:
        run.execute()
        result = report.result(run)
    finally:
        topology.stop(keep=False)
    assert not result["failures"] and not result["refusals"], result
    assert report.failed(result)
    assert result[damage] == planted["rows"] > 0
    assert {f["kind"] for f in result["findings"]} == {damage}
    assert all(f["catalog"] and f["ids"] for f in result["findings"])
    written = report.summaries([result])
    (kept,) = json.loads(written)
    assert kept["findings"][damage] == len(result["findings"]) and kept[damage] == result[damage]
    assert not any(one in written for f in result["findings"] for one in f["ids"])
    # The part that ended is one that nobody deletes: verify sees it, too.
    assert {f["kind"] for f in result["damage"]} == ({"catalog_row"} if damage == "lost" else set())


LARGEST_LOGS_PART = """
SELECT p.id, p.row_count, p.path FROM part p JOIN dataset d ON d.id = p.dataset_id
WHERE p.end_seq IS NULL AND d.name = 'logs' ORDER BY p.row_count DESC LIMIT 1
"""


def end_a_part(data_dir):
    with sqlite3.connect(data_dir / "catalog.db") as catalog:
        number, rows, _ = catalog.execute(LARGEST_LOGS_PART).fetchone()
        catalog.execute("UPDATE part SET end_seq = begin_seq WHERE id = ?", (number,))
    return rows


def repeat_a_part(data_dir):
    with sqlite3.connect(data_dir / "catalog.db") as catalog:
        catalog.row_factory = sqlite3.Row
        number, rows, path = catalog.execute(LARGEST_LOGS_PART).fetchone()
        part = dict(catalog.execute("SELECT * FROM part WHERE id = ?", (number,)).fetchone())
        part |= {"id": None, "path": f"{path.removesuffix('.parquet')}-again.parquet"}
        shutil.copy(data_dir / "store" / path, data_dir / "store" / part["path"])
        marks = ", ".join("?" * len(part))
        catalog.execute(f"INSERT INTO part ({', '.join(part)}) VALUES ({marks})", list(part.values()))
    return rows
