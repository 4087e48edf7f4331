"""What a run found, as data and as a table."""

import json
import statistics
from collections import Counter

from torture.faults import kinds_for


def result(run):
    """Everything worth keeping of a run, ready for JSON."""
    counts = Counter(kind for kind, *_ in run.faults if kind is not None)
    without = Counter(fault.kind for kind, fault, *_ in run.faults if kind is None)
    totals, found = run.ledger.totals(), run.checker.counts()
    longest, since = run.availability.longest
    alone = [seconds for seconds, at in run.availability.after_kills if _alone(run, at, at + seconds)]
    return {
        "topology": run.topology.name, "seed": run.seed, "seconds": run.seconds, "every": run.every,
        "faults": dict(sorted(counts.items())), "fault_count": sum(counts.values()),
        "without_effect": dict(sorted(without.items())), "left_out": run.topology.left_out,
        "kinds": sorted(kinds_for(run.topology)),
        "acked": totals["acked"], "given_up": totals["given up"], "in_flight": totals["in flight"], **found,
        "damaged": len(run.damage), "damage": run.damage[:100], "verified": run.verified,
        "drops_invited": len(run.refusals), "reads": run.checker.reads, "reads_unanswered": run.checker.unanswered,
        "longest_unavailability_seconds": round(longest, 2),
        "longest_unavailability_during": _during(run, since, longest),
        "outages": [
            {"at": round(at - run.started, 1), "seconds": round(seconds, 1), "faults": _during(run, at, seconds)}
            for seconds, at in run.availability.outages
        ],
        "timeline": [[fault.kind, kind, round(began, 2), round(ended or run.elapsed(), 2)] for kind, fault, began, ended in run.faults],
        "after_kill_seconds": {
            "kills": len(run.availability.after_kills), "alone": len(alone),
            "worst": round(max(alone), 2) if alone else None, "median": round(statistics.median(alone), 2) if alone else None,
        },
        "retries": run.retries, "unanswered_reasons": dict(sorted(run.checker.reasons.items(), key=lambda kv: -kv[1])[:20]),
        "own_exits": run.topology.exits(), "notes": run.notes, "failures": run.failures,
        "refusals": run.refusals, "findings": run.checker.findings,
    }


# What names items and shows logs: as much as a run finds, and only of use beside its data.
BODIES = ("findings", "damage", "refusals", "own_exits")


def summary(one):
    """A result to keep: how many findings of which kind there were, without them."""
    kept = {key: value for key, value in one.items() if key not in BODIES}
    kinds = Counter(finding["kind"] for finding in one["findings"] + one["damage"])
    return kept | {"findings": dict(sorted(kinds.items())), "own_exits": Counter(code for _, code, _ in one["own_exits"])}


def summaries(results):
    """The summaries as JSON, a line for each key: a schedule of a thousand faults is one."""
    one = lambda r: "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value, default=str)}" for key, value in summary(r).items()) + "\n}"
    return f"[{', '.join(map(one, results))}]\n"


def _during(run, since, seconds):
    """Kinds of the faults that were at work then."""
    if since is None:
        return []
    return sorted({kind for kind, _, began, ended in run.faults if kind and _overlap(run, began, ended, since, since + seconds)})


def _overlap(run, began, ended, since, until):
    began, ended = began + run.started, (run.elapsed() if ended is None else ended) + run.started
    return began < until and ended > since


def _alone(run, since, until):
    """Whether no other fault was at work between a kill and the ack after it."""
    return sum(_overlap(run, began, ended, since, until) for _, _, began, ended in run.faults) <= 1


def failed(one):
    """Whether a result breaks a promise."""
    return bool(
        one["lost"] or one["duplicated"] or one["unknown"] or one["stripped"] or one["drops_invited"] or one["damaged"]
        or one["failures"]
        or one["in_flight"]
    )


def markdown(results, command):
    """The table of a run over one or several topologies."""
    rows = [
        ("seed", lambda r: r["seed"]),
        ("minutes", lambda r: round(r["seconds"] / 60, 1)),
        ("faults that took effect", lambda r: f"{r['fault_count']:,}"),
        ("faults that met nothing (not counted above)", lambda r: sum(r["without_effect"].values())),
        ("items acked", lambda r: f"{r['acked']:,}"),
        ("acked items lost", lambda r: r["lost"]),
        ("items shown twice", lambda r: r["duplicated"]),
        ("items never sent", lambda r: r["unknown"]),
        ("items without their resource or series", lambda r: r["stripped"]),
        ("damaged or forgotten objects and catalog rows (`verify --deep`)", lambda r: r["damaged"]),
        ("answers that make exporters drop data", lambda r: r["drops_invited"]),
        ("reads compared with the ledger", lambda r: f"{r['reads'] - r['reads_unanswered']:,}"),
        ("longest time without an ack", lambda r: f"{r['longest_unavailability_seconds']} s ({', '.join(r['longest_unavailability_during']) or 'no fault'})"),
        ("kill -9 of the only process to the next ack", _after_kill),
    ]
    names = [r["topology"] for r in results]
    lines = [f"`{command}`", "", f"| | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [f"| {name} | {' | '.join(str(value(r)) for r in results)} |" for name, value in rows]
    kinds = sorted({kind for r in results for kind in r["faults"]})
    lines += ["", f"| fault | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [f"| {kind} | {' | '.join(str(r['faults'].get(kind, '')) for r in results)} |" for kind in kinds]
    lines += ["", *[f"Left out ({r['topology']}): {what}" for r in results for what in r["left_out"]]]
    return "\n".join(lines).rstrip() + "\n"


def _after_kill(one):
    kills = one["after_kill_seconds"]
    return f"worst {kills['worst']} s, median {kills['median']} s ({kills['alone']} kills without another fault)" if kills["alone"] else "-"
