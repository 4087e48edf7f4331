#!/usr/bin/env python3
"""Writes monitoring/dashboards/*.json. Change a dashboard in its file, run this one, commit both; a test compares them.

Every number has its unit, every panel says what it means. What the catalog knows (backlog, parts, retention) is the same in every
process and is taken with max; what processes do themselves is summed.
"""

import json
from pathlib import Path

import ingest
import kubernetes
import overview
import query
import storage


def render():
    """File name to text, of every dashboard."""
    return {
        f"{make.__name__}.json": json.dumps(make(), indent=2) + "\n"
        for make in (overview.overview, ingest.ingest, storage.storage, query.query, kubernetes.kubernetes)
    }


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "dashboards"
    for name, text in render().items():
        (target / name).write_text(text)
