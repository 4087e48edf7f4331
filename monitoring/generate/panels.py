"""The parts that dashboards are made of, as Grafana's classic JSON model has them (schemaVersion 42, Grafana 12.2 and later)."""

SCHEMA_VERSION = 42
# Versions of panels carry the version of Grafana that they are written for, so that no migration touches them.
PLUGIN_VERSION = "12.2.0"
WIDTH = 24  # columns of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

GREEN, ORANGE, RED = "green", "orange", "red"


def query(expr, legend="", form="time_series", instant=False):
    """One query of a panel. `legend` is what a series is called, with {{label}} for its labels."""
    return {"expr": " ".join(expr.split()), "legendFormat": legend or "__auto", "format": form, "instant": instant}


def _targets(queries, instant=False):
    made = []
    for letter, one in zip("ABCDEFGH", queries, strict=False):
        one = one if isinstance(one, dict) else query(*one)
        made.append(
            {
                "refId": letter,
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": one["expr"],
                "legendFormat": one["legendFormat"],
                "format": one["format"],
                "instant": instant or one["instant"],
                "range": not (instant or one["instant"]),
            }
        )
    return made


def steps(*pairs):
    """Thresholds: a base colour, then (from this value on, colour)."""
    base, *others = pairs
    return {"mode": "absolute", "steps": [{"color": base, "value": None}] + [{"color": c, "value": v} for v, c in others]}


def _panel(kind, title, description, queries, unit, width, height, instant=False):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "pluginVersion": PLUGIN_VERSION,
        "targets": _targets(queries, instant),
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
    }


def stat(title, description, queries, unit="short", thresholds=None, states=None, width=4, show="value", decimals=None):
    """The present value, large. `states` maps values to (text, colour)."""
    made = _panel("stat", title, description, queries, unit, width, 4, instant=True)
    defaults = made["fieldConfig"]["defaults"]
    defaults["color"] = {"mode": "thresholds"}
    defaults["thresholds"] = thresholds or steps(GREEN)
    defaults["noValue"] = "none"
    if decimals is not None:
        defaults["decimals"] = decimals
    if states:
        options = {str(value): {"text": text, "color": color, "index": i} for i, (value, (text, color)) in enumerate(states.items())}
        defaults["mappings"] = [{"type": "value", "options": options}]
    made["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": show,
        "wideLayout": True,
    }
    return made


def graph(title, description, queries, unit="short", stacked=False, width=8, height=8, top=None, limits=None):
    """Lines over time. `top` fixes the axis' upper end; `limits` draws thresholds as lines."""
    made = _panel("timeseries", title, description, queries, unit, width, height)
    defaults = made["fieldConfig"]["defaults"]
    defaults["min"] = 0
    if top is not None:
        defaults["max"] = top
    defaults["color"] = {"mode": "palette-classic"}
    defaults["custom"] = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 10,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if limits else "off"},
    }
    if limits:
        defaults["thresholds"] = limits
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def heatmap(title, description, expr, width=12, height=8):
    """A histogram over time; `expr` gives its buckets by `le`."""
    made = _panel("heatmap", title, description, [query(expr, "{{le}}", form="heatmap")], "s", width, height)
    made["fieldConfig"]["defaults"] = {}
    made["options"] = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "steps": 64,
            "exponent": 0.5,
            "fill": "dark-orange",
            "reverse": False,
            "scale": "exponential",
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    return made


def table(title, description, expr, columns, width=12, height=8):
    """The present value of every series; `columns` names the labels to show, in order, and `Value`."""
    made = _panel("table", title, description, [query(expr, form="table", instant=True)], "short", width, height, instant=True)
    made["fieldConfig"]["defaults"]["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    made["options"] = {"cellHeight": "sm", "showHeader": True}
    made["transformations"] = [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
        {"id": "organize", "options": {"indexByName": {name: i for i, name in enumerate(columns)}, "renameByName": dict(columns)}},
    ]
    return made


def row(title):
    """A heading; what follows in the list stands below it."""
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


def variable(name, label, expr, several=True):
    """A choice of label values; with several, all of them unless somebody chooses."""
    everything = {"text": "All", "value": "$__all"} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": expr,
        "query": {"query": expr, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "regex": "",
        "multi": several,
        "includeAll": several,
        "current": everything,
        "options": [],
    } | ({"allValue": ".*"} if several else {})


def dashboard(name, title, description, variables, panels):
    """A dashboard; panels are laid out from left to right, and numbered."""
    x = y = line = 0
    placed = []
    for number, panel in enumerate(panels, 1):
        if panel["type"] == "row":
            if x:
                x, y = 0, y + line
            position, line = {"x": 0, "y": y, "w": WIDTH, "h": 1}, 0
            y += 1
        else:
            size = panel["gridPos"]
            if x + size["w"] > WIDTH:
                x, y, line = 0, y + line, 0
            position = {"x": x, "y": y, "w": size["w"], "h": size["h"]}
            x, line = x + size["w"], max(line, size["h"])
            if x == WIDTH:
                x, y, line = 0, y + line, 0
        placed.append({"id": number} | panel | {"gridPos": position})
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}
    source |= {"includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": ""}
    return {
        "uid": f"otlp-rust-{name}",
        "title": f"otlp-rust / {title}",
        "description": description,
        "tags": ["otlp-rust"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "preload": False,
        "timepicker": {},
        "annotations": {"list": []},
        "links": [
            {
                "title": "otlp-rust",
                "type": "dashboards",
                "tags": ["otlp-rust"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [source, *variables]},
        "panels": placed,
    }
