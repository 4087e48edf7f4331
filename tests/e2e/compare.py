"""Compares what an SDK sent with what SQL returns, value by value.

What was sent is described by plain dictionaries, so that the Python and the JavaScript tests share the comparison:
times are Unix nanoseconds, ids lower-case hex, attributes plain JSON values. Bytes are {"$bytes": base64}.
"""

import json

from wire import to_ns


def is_scalar(value):
    return isinstance(value, (str, bool, int, float))


def scalar_keys(items, field):
    keys = {key for item in items for key, value in item[field].items() if is_scalar(value)}
    return sorted(keys)


def same(actual, expected, where):
    assert actual == expected, f"{where}: stored {actual!r}, sent {expected!r}"
    if isinstance(expected, bool) != isinstance(actual, bool):
        raise AssertionError(f"{where}: stored {actual!r}, sent {expected!r}")


class Attributes:
    """The SELECT list for all keys of some items, and the check of one row."""

    def __init__(self, items, prefixes):
        self.aliases = {}
        for field, prefix in prefixes.items():
            for key in scalar_keys(items, field):
                self.aliases[field, key] = (f"c{len(self.aliases)}", f"{prefix}{key}")

    def select(self):
        return "".join(f', "{column}" AS {alias}' for alias, column in self.aliases.values())

    def of(self, row):
        """The row's own attributes that are set."""
        pairs = {key: row.get(alias) for (field, key), (alias, _) in self.aliases.items() if field == "attributes"}
        return {key: value for key, value in pairs.items() if value is not None}

    def check(self, row, item, where):
        rest = json.loads(row.get("attributes_rest") or "{}")
        for (field, key), (alias, _) in self.aliases.items():
            same(row.get(alias), item[field].get(key), f"{where} {field}[{key}]")
        for field, prefix in (("attributes", ""), ("scope_attributes", "scope.")):
            for key, value in item.get(field, {}).items():
                if not is_scalar(value):
                    same(rest.pop(prefix + key, None), value, f"{where} {field}[{key}]")
        assert not rest, f"{where}: attributes that were not sent: {rest}"


def spans(server, tenant, sent):
    """Checks that the tenant's spans are exactly those that were sent."""
    attributes = Attributes(sent, {"attributes": "attr.", "resource": "resource.", "scope_attributes": "scope."})
    rows = server.sql(
        "SELECT trace_id, span_id, parent_span_id, trace_state, name, kind, CAST(start_time AS BIGINT) AS start_ns, duration,"
        " status_code, status_message, service_name, scope_name, scope_version, events, links, attributes_rest,"
        f" dropped_attributes_count, dropped_events_count, dropped_links_count{attributes.select()} FROM spans",
        tenant,
    )
    by_id = {row["span_id"]: row for row in rows}
    assert (len(rows), len(by_id)) == (len(sent), len(sent))
    for item in sent:
        row = by_id[item["span_id"]]
        where = f"span {item['name']}"
        for column in ("trace_id", "name", "kind", "status_code", "scope_name", "scope_version"):
            same(row[column], item[column], f"{where} {column}")
        same(row.get("parent_span_id"), item.get("parent_span_id"), f"{where} parent_span_id")
        same(row.get("trace_state") or "", item.get("trace_state") or "", f"{where} trace_state")
        same(row.get("status_message") or "", item.get("status_message") or "", f"{where} status_message")
        same(row["start_ns"], item["start_ns"], f"{where} start")
        same(row["duration"], item["end_ns"] - item["start_ns"], f"{where} duration")
        same(row["service_name"], item["resource"]["service.name"], f"{where} service_name")
        for column in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
            same(row.get(column) or 0, item.get(column, 0), f"{where} {column}")
        attributes.check(row, item, where)
        events = [
            {"name": e["name"], "time_ns": to_ns(e["time"]), "attributes": json.loads(e.get("attributes") or "{}")}
            for e in row.get("events") or []
        ]
        same(events, item.get("events", []), f"{where} events")
        links = [
            {
                "trace_id": link["trace_id"],
                "span_id": link["span_id"],
                "trace_state": link.get("trace_state") or "",
                "attributes": json.loads(link.get("attributes") or "{}"),
            }
            for link in row.get("links") or []
        ]
        same(links, item.get("links", []), f"{where} links")


def logs(server, tenant, sent):
    """Checks that the tenant's log records are exactly those that were sent. A record is known by its timestamp."""
    attributes = Attributes(sent, {"attributes": "attr.", "resource": "resource.", "scope_attributes": "scope."})
    rows = server.sql(
        "SELECT CAST(timestamp AS BIGINT) AS time_ns, CAST(observed_time AS BIGINT) AS observed_ns, severity_number, severity_text,"
        " body, event_name, trace_id, span_id, service_name, scope_name, scope_version, attributes_rest"
        f"{attributes.select()} FROM logs",
        tenant,
    )
    by_time = {row["time_ns"]: row for row in rows}
    assert (len(rows), len(by_time)) == (len(sent), len(sent))
    for item in sent:
        row = by_time[item["time_ns"]]
        where = f"log record {item['body']!r}"
        body = row.get("body")
        same(body if isinstance(item["body"], str) else json.loads(body), item["body"], f"{where} body")
        same(row.get("observed_ns"), item["observed_ns"], f"{where} observed time")
        for column in ("severity_number", "scope_name", "scope_version"):
            same(row[column], item[column], f"{where} {column}")
        for column in ("severity_text", "event_name"):
            same(row.get(column) or "", item.get(column) or "", f"{where} {column}")
        for column in ("trace_id", "span_id"):
            same(row.get(column), item.get(column), f"{where} {column}")
        same(row["service_name"], item["resource"]["service.name"], f"{where} service_name")
        attributes.check(row, item, where)


def point_key(name, attributes):
    return name, tuple(sorted((key, value) for key, value in attributes.items()))


def numbers(server, tenant, sent):
    """Checks that the view `metrics` has exactly the number points that were sent."""
    attributes = Attributes(sent, {"attributes": "attr.", "resource": "resource."})
    rows = server.sql(
        "SELECT CAST(timestamp AS BIGINT) AS time_ns, CAST(start_time AS BIGINT) AS start_ns, name, type, unit, temporality,"
        f" monotonic, value, value_int, service_name{attributes.select()} FROM metrics",
        tenant,
    )
    found = {}
    for row in rows:
        keys = attributes.of(row)
        found[point_key(row["name"], keys)] = row
    assert len(rows) == len(found) == len(sent), sorted(found)
    for item in sent:
        row = found[point_key(item["name"], item["attributes"])]
        where = f"metric {item['name']}{item['attributes']}"
        same(row["time_ns"], item["time_ns"], f"{where} timestamp")
        same(row.get("start_ns") or 0, item.get("start_ns") or 0, f"{where} start_time")
        for column in ("type", "unit"):
            same(row.get(column) or "", item[column], f"{where} {column}")
        for column in ("temporality", "monotonic"):
            same(row.get(column), item.get(column), f"{where} {column}")
        same(row["value"], item["value"], f"{where} value")
        if item["is_int"]:
            same(row.get("value_int"), item["value"], f"{where} value_int")
        else:
            same(row.get("value_int"), None, f"{where} value_int")
        attributes.check(row, item, where)


def histograms(server, tenant, sent):
    """Checks that `metric_histograms` has exactly the histogram points that were sent, under their series' names."""
    attributes = Attributes(sent, {"attributes": "attr."})
    selected = attributes.select()
    grouped = "".join(f", {alias}" for alias, _ in attributes.aliases.values())
    rows = server.sql(
        "SELECT CAST(h.timestamp AS BIGINT) AS time_ns, CAST(h.start_time AS BIGINT) AS start_ns, h.count, h.sum, h.min, h.max,"
        " h.bounds, h.bucket_counts, h.scale, h.zero_count, h.positive_offset, h.positive_counts, h.negative_offset,"
        f" h.negative_counts, s.name, s.type, s.unit, s.temporality{grouped}"
        " FROM metric_histograms h JOIN"
        f" (SELECT DISTINCT series_id, name, type, unit, temporality{selected} FROM metric_series) s"
        " ON h.series_id = s.series_id",
        tenant,
    )
    found = {}
    for row in rows:
        keys = attributes.of(row)
        found[point_key(row["name"], keys)] = row
    assert len(rows) == len(found) == len(sent), sorted(found)
    for item in sent:
        row = found[point_key(item["name"], item["attributes"])]
        where = f"histogram {item['name']}{item['attributes']}"
        same(row["time_ns"], item["time_ns"], f"{where} timestamp")
        same(row["start_ns"], item["start_ns"], f"{where} start_time")
        for column in ("type", "unit", "temporality", "count", "sum", "min", "max"):
            same(row[column], item[column], f"{where} {column}")
        if item["type"] == "histogram":
            columns = ("bounds", "bucket_counts")
        else:
            columns = ("scale", "zero_count", "positive_offset", "positive_counts", "negative_offset", "negative_counts")
        for column in columns:
            expected = item[column]
            actual = row.get(column)
            if not expected and not actual:
                continue
            same(actual, expected, f"{where} {column}")


def exemplars(server, tenant, sent):
    """Checks that `exemplars` has exactly the exemplars that were sent."""
    rows = server.sql(
        "SELECT CAST(e.timestamp AS BIGINT) AS time_ns, coalesce(e.value, e.value_int) AS value, e.trace_id, e.span_id,"
        " e.attributes, s.name"
        " FROM exemplars e JOIN (SELECT DISTINCT series_id, name FROM metric_series) s ON e.series_id = s.series_id",
        tenant,
    )
    actual = sorted(
        (r["name"], r["time_ns"], r["value"], r.get("trace_id"), r.get("span_id"), r.get("attributes") or "{}") for r in rows
    )
    expected = sorted(
        (e["name"], e["time_ns"], e["value"], e["trace_id"], e["span_id"], json.dumps(e["attributes"])) for e in sent
    )
    same(actual, expected, "exemplars")
