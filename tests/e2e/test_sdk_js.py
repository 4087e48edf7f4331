"""The OpenTelemetry JavaScript SDK sends all three signals as OTLP/JSON and as protobuf; SQL returns them value by value."""

import json
import subprocess
from pathlib import Path

import pytest

import compare

SCRIPT = Path(__file__).parent / "js" / "send.mjs"


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_all_signals(server, tenant, encoding):
    done = subprocess.run(
        ["node", str(SCRIPT), encoding, server.otlp_url, tenant], capture_output=True, text=True, timeout=120, cwd=SCRIPT.parent
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)
    assert len(sent["spans"]) == 5 and len(sent["logs"]) == 7 and len(sent["histograms"]) == 6
    compare.spans(server, tenant, sent["spans"])
    compare.logs(server, tenant, sent["logs"])
    compare.numbers(server, tenant, sent["numbers"])
    compare.histograms(server, tenant, sent["histograms"])
