"""`python -m torture`: faults against real processes, a ledger of what was acked, a table. See docs/guides/torture.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Processes are started while clients send; gRPC's own handlers of forks would only complain.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from torture import report
from torture.run import Run
from torture.topologies import TOPOLOGIES


def parser():
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="decides faults and contents; from the clock if not given")
    parser.add_argument("--minutes", type=float, default=5, help="how long faults strike (default 5)")
    parser.add_argument("--topology", choices=[*TOPOLOGIES, "both"], default="both")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between two faults of a topology (default 2.5)")
    parser.add_argument("--window", type=float, default=30, help="seconds after which clients turn to a new tenant (default 30)")
    parser.add_argument("--clients", type=int, default=4, help="clients per topology (default 4)")
    parser.add_argument("--out", type=Path, help="write the table here (.md) and the schedule, outages and counts beside it (.json)")
    parser.add_argument("--keep", action="store_true", help="keep data and logs even if nothing was found")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser


def replay(options):
    """The `make` command that repeats a run: all that decides its schedule, as far as it differs from the defaults."""
    defaults = vars(parser().parse_args([]))
    said = {name: value for name, value in vars(options).items() if name not in ("out", "keep", "result")}
    differ = {name: str(value).removesuffix(".0") for name, value in said.items() if value != defaults[name]}
    command = ["make torture", *(f"{name.upper()}={differ.pop(name)}" for name in ("seed", "minutes") if name in differ)]
    if differ:
        command.append(f'TORTURE_ARGS="{" ".join(f"--{name} {value}" for name, value in differ.items())}"')
    return " ".join(command)


def one(options):
    """Runs one topology in this process."""
    folder = Path(tempfile.mkdtemp(prefix=f"otlp-rust-torture-{options.topology}-"))

    def say(text):
        print(f"{options.topology}: {text}", flush=True)

    topology = TOPOLOGIES[options.topology](folder, say)
    found, bad = None, True
    try:
        run = Run(topology, options.seed, options.minutes * 60, options.every, options.clients, window=options.window, say=say)
        run.execute()
        found = report.result(run)
        bad = report.failed(found)
    finally:
        topology.stop(keep=bad or options.keep)
        if found is not None:
            (folder / "result.json").write_text(json.dumps(found, indent=1, default=str))
            if options.result:
                shutil.copy(folder / "result.json", options.result)
        if bad or options.keep:
            say(f"data, logs and evidence are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def both(options):
    """Each topology in a process of its own, side by side."""
    with tempfile.TemporaryDirectory(prefix="otlp-rust-torture-") as folder:
        files = {name: Path(folder) / f"{name}.json" for name in TOPOLOGIES}
        passed = [f"--{name}={getattr(options, name)}" for name in ("seed", "minutes", "every", "window", "clients")]
        passed += ["--keep"] if options.keep else []
        started = [
            subprocess.Popen([sys.executable, "-m", "torture", "--topology", name, "--result", str(file), *passed])
            for name, file in files.items()
        ]
        codes = [process.wait() for process in started]
        results = [json.loads(file.read_text()) for file in files.values() if file.exists()]
        if len(results) < len(files):
            raise SystemExit(f"a topology ended without a result: exit codes {codes}")
        return results


def main(given=None):
    options = parser().parse_args(given)
    if options.seed is None:
        options.seed = time.time_ns() % 1_000_000_007
    command = replay(options)
    if not options.result:  # else the process that started this one says it
        print(f"replay with: {command}", flush=True)
    if options.topology == "both":
        results = both(options)
    else:
        results = [one(options)]
    if options.result:
        return 0 if results[0] else 2
    table = report.markdown(results, command)
    print(f"\n{table}")
    for r in results:
        for finding in r["findings"][:5] + r["damage"][:5] + r["refusals"][:5] + r["failures"]:
            print(f"{r['topology']}: {json.dumps(finding, default=str)[:1500] if isinstance(finding, dict) else finding}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(table)
        options.out.with_suffix(".json").write_text(report.summaries(results))
    return 1 if any(report.failed(r) for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
