"""The torture harness: a short run of both topologies, and proof that it would notice what it looks for."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from torture import faults, report, schedule
from torture.ledger import ACKED, Ledger, Request, compare
from torture.run import Run
from torture.topologies import Local

REPOSITORY = Path(__file__).resolve().parents[2]
# Long enough for about one fault of each kind; `make torture` runs for minutes.
SECONDS, EVERY = 40, 1.8


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
        assert result["fault_count"] >= 12, result["notes"]
        assert result["reads"] - result["reads_unanswered"] > 50


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
