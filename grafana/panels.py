"""The words that pages are written in: what a panel is, and how it becomes Grafana's JSON.

A query is PromQL with its selectors left out: `total("hawker_sessions")` sums over the brokers
that the page shows, `rate("hawker_turns_total", by="shard")` is one series a shard. Nothing here
knows what the metrics mean; that is in `pages.py`.
"""

from typing import NamedTuple

# The brokers that the variable `instance` selects.
CHOSEN = '{instance=~"$instance"}'
# The same of metrics that other programs have, too.
OF_BROKERS = '{job="hawker", instance=~"$instance"}'
# A page is this wide.
COLUMNS = 24

# One colour for one meaning, on every page.
GREEN, BLUE, PURPLE, ORANGE, RED, YELLOW = "green", "blue", "purple", "orange", "red", "yellow"


class Query(NamedTuple):
    """What is asked, how its series are called, and their colour; without one each gets its own."""

    expression: str
    legend: str
    colour: str | None = None
    # `range` for graphs, `instant` for a figure now, `heatmap` for the buckets of a histogram.
    kind: str = "range"


class Panel(NamedTuple):
    """A panel without its place."""

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple
    width: int
    height: int
    # From which value on it is orange, and red.
    warns: tuple = ()
    stacked: bool = False
    # The greatest value there can be; the axis ends there.
    most: float | None = None


class Row(NamedTuple):
    """Panels under a question, from left to right; what does not fit begins a new line."""

    title: str
    panels: tuple


class Page(NamedTuple):
    """A dashboard."""

    name: str
    title: str
    description: str
    rows: tuple


# Expressions


def chosen(metric):
    """The metric as it is, of the chosen brokers."""
    return metric + (OF_BROKERS if metric.startswith("process_") else CHOSEN)


def total(metric, by=None):
    """The sum over shards and brokers, or one `by` broker or shard."""
    return f"sum{_by(by)} ({chosen(metric)})"


def greatest(metric, by=None):
    """The greatest value of any shard."""
    return f"max{_by(by)} ({chosen(metric)})"


def rate(metric, by=None):
    """How fast a counter goes up, each second."""
    return f"sum{_by(by)} (rate({chosen(metric)}[$__rate_interval]))"


def rate_by(metric, label):
    """The same of each value of a label that all shards have."""
    return f"sum by ({label}) (rate({chosen(metric)}[$__rate_interval]))"


def risen(metric, over="$__range"):
    """How far a counter went up in the time that the page shows."""
    return f"sum (increase({chosen(metric)}[{over}]))"


def fullest(metric, limit):
    """The share of a limit that is used where each shard may have an equal part of it."""
    shards = f"count by (instance) ({chosen(metric)})"
    return f"{greatest(metric, by='instance')} * {shards} / {greatest(limit, by='instance')}"


def quantile(share, histogram, by="shard"):
    """What a share of all was at most."""
    buckets = f"sum{_by(by, 'le')} (rate({chosen(histogram + '_bucket')}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def plus(*expressions):
    """The sum of expressions."""
    return " + ".join(expressions)


def _by(what, *more):
    # A shard is one of a broker: its number alone would add up those of different machines.
    labels = {None: (), "instance": ("instance",), "shard": ("instance", "shard")}[what]
    labels = (*labels, *more)
    return f" by ({', '.join(labels)})" if labels else ""


# Panels


def figure(title, description, unit, query, warns=(), width=4, most=None):
    """One number, large, with its past behind it."""
    return Panel("stat", title, description, unit, (query,), width, 4, warns, most=most)


def graph(title, description, unit, *queries, width=8, stacked=False, most=None):
    """Lines over time."""
    return Panel("timeseries", title, description, unit, queries, width, 8, (), stacked, most)


def by_shard(title, description, unit, expression, width=8, most=None):
    """A line for each shard."""
    query = Query(expression, "{{instance}} shard {{shard}}")
    return graph(title, description, unit, query, width=width, most=most)


def heatmap(title, description, unit, histogram, width=12):
    """How often a histogram counted which value, over time."""
    buckets = f"sum by (le) (increase({chosen(histogram + '_bucket')}[$__rate_interval]))"
    query = Query(buckets, "{{le}}", kind="heatmap")
    return Panel("heatmap", title, description, unit, (query,), width, 8)


def by_label(title, description, unit, metric, label, width=8, stacked=False):
    """A line for each value of a label, over all shards."""
    query = Query(rate_by(metric, label), "{{" + label + "}}")
    return graph(title, description, unit, query, width=width, stacked=stacked)


def by_label_now(title, description, unit, metric, label, width=8):
    """The same of a figure that goes up and down."""
    query = Query(f"sum by ({label}) ({chosen(metric)})", "{{" + label + "}}")
    return graph(title, description, unit, query, width=width)


def percentiles(title, description, histogram, width=8):
    """How long half of all took, nearly all, and the slowest of a thousand."""
    return graph(title, description, "s", *(
        Query(quantile(share, histogram, by=None), legend, colour)
        for share, legend, colour in (
            (0.5, "half", GREEN), (0.99, "99 %", ORANGE), (0.999, "99.9 %", RED)
        )
    ), width=width)


def by_broker(title, description, unit, expression, width=8, most=None):
    """A line for each broker."""
    return graph(title, description, unit, Query(expression, "{{instance}}"), width=width, most=most)


def table(title, description, expression, width=24):
    """A line for each series that there is now."""
    query = Query(expression, "", kind="instant")
    return Panel("table", title, description, "short", (query,), width, 5)


# JSON

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(page):
    """The page as Grafana reads it."""
    return {
        "uid": f"hawker-{page.name}",
        "title": page.title,
        "description": page.description,
        "tags": ["hawker", "mqtt"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        # What one sees when the pointer is over one graph is shown in all.
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [_links()],
        "annotations": {"list": _annotations()},
        "templating": {"list": _variables()},
        "panels": list(_placed(page.rows)),
    }


def _links():
    return {
        "type": "dashboards",
        "title": "Hawker",
        "tags": ["hawker"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
    }


def _annotations():
    starts = f"sum by (instance) (resets({chosen('hawker_turns_total')}[1m])) > 0"
    alerts = 'ALERTS{alertname=~"Hawker.*", alertstate="firing", instance=~"$instance"}'
    return [
        _annotation("Starts", starts, "started", "{{instance}}", BLUE),
        _annotation("Alerts", alerts, "{{alertname}}", "{{instance}}", RED),
    ]


def _annotation(name, expression, title, text, colour):
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "expr": expression,
        "iconColor": colour,
        "step": "60s",
        "titleFormat": title,
        "textFormat": text,
    }


def _variables():
    return [
        {
            "name": "datasource",
            "type": "datasource",
            "query": "prometheus",
            "label": "Data source",
        },
        {
            "name": "instance",
            "type": "query",
            "label": "Broker",
            "datasource": SOURCE,
            "definition": "label_values(hawker_connections, instance)",
            "query": {
                "query": "label_values(hawker_connections, instance)",
                "refId": "instance",
            },
            "refresh": 2,
            "sort": 1,
            "includeAll": True,
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _placed(rows):
    """Every row and panel, each with a number and a place."""
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        x, y, line = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": number, **_panel(panel), "gridPos": place}
            x, line = x + panel.width, max(line, panel.height)
        y += line


def _panel(panel):
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(letter, query) for letter, query in zip("ABCDEFGHIJKL", panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.kind](panel),
        **({"transformations": _TRANSFORMATIONS} if panel.kind == "table" else {}),
    }


def _target(letter, query):
    target = {
        "refId": letter,
        "datasource": SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
    }
    if query.kind == "instant":
        target |= {"instant": True, "range": False, "format": "table"}
    if query.kind == "heatmap":
        target |= {"format": "heatmap"}
    return target


def _defaults(panel):
    if panel.kind == "table":
        return {"noValue": "none"}
    defaults = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind == "stat":
        colours = [GREEN, ORANGE, RED] if len(panel.warns) == 2 else [GREEN, RED]
        values = [None, *panel.warns]
        steps = [{"color": c, "value": v} for c, v in zip(colours, values)]
        # A figure that nothing is wrong with at any value is blue.
        steps = steps if panel.warns else [{"color": BLUE, "value": None}]
        defaults["color"] = {"mode": "thresholds"}
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic-by-name"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return defaults


def _overrides(panel):
    if panel.kind != "timeseries":
        return []
    return [
        {
            "matcher": {"id": "byName", "options": query.legend},
            "properties": [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": query.colour}},
            ],
        }
        for query in panel.queries
        if query.colour
    ]


_OPTIONS = {
    "stat": lambda panel: {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "value",
    },
    "timeseries": lambda panel: {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "heatmap": lambda panel: {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "exponent": 0.5},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "le"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
    },
    "table": lambda panel: {"showHeader": True, "cellHeight": "sm"},
}

# Of a series, what its labels say; its value is always 1.
_TRANSFORMATIONS = [
    {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, "Value": True, "__name__": True, "job": True},
            "indexByName": {"alertname": 0, "instance": 1, "severity": 2, "alertstate": 3},
            "renameByName": {
                "alertname": "Alert",
                "instance": "Broker",
                "severity": "Severity",
                "alertstate": "State",
                "version": "Version",
                "durability": "Durability",
                "rustc": "Compiler",
            },
        },
    },
]
