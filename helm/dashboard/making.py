"""How panels become a Grafana dashboard: the parts that it is put together from, and their JSON."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

COLUMNS: Final = 24
QUARTER: Final = COLUMNS // 4
SELECTED: Final = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
SERVED: Final = f'{SELECTED}, route!~"/livez|/readyz"'
_SHARES: Final = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """One expression, and how its series are named."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One panel; `kind` is Grafana's, `steps` are values from which on it is coloured."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    steps: Sequence[tuple[float | None, str]] = ()


class Row(NamedTuple):
    """A heading and what stands under it."""

    title: str
    panels: Sequence[Panel]


def of(metric: str) -> str:
    """Return a metric of the instances that are selected."""
    return f"{metric}{{{SELECTED}}}"


def rate(metric: str, by: str = "", labels: str = SELECTED) -> str:
    """Return the rate of a counter, summed over the instances that are selected."""
    summed = f"sum by ({by})" if by else "sum"
    return f"{summed} (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantiles(metric: str, labels: str) -> list[Query]:
    """Return p50, p95 and p99 of a histogram."""
    buckets = f"sum by (le) (rate({metric}_bucket{{{labels}}}[$__rate_interval]))"
    return [Query(f"histogram_quantile({share}, {buckets})", name) for share, name in _SHARES]


def stat(title: str, description: str, unit: str, query: Query, steps: Sequence[tuple[float | None, str]]) -> Panel:
    """Return a single number."""
    return Panel(title, description, unit, [query], "stat", width=4, height=4, steps=steps)


def dashboard(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the whole of it."""
    return {
        "uid": "sre-server",
        "title": "sre-server",
        "description": "Traffic, cache, writes, clients and instances of sre-server. Made by helm/dashboard.",
        "tags": ["kubernetes", "sre-server"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [],
        "annotations": {"list": [_starts()]},
        "templating": {"list": list(_variables())},
        "panels": list(_placed(rows)),
    }


def _starts() -> dict[str, Any]:
    return {
        "name": "Instance started",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f"changes(sre_server_start_time_seconds{{{SELECTED}}}[$__interval]) > 0",
        "titleFormat": "{{instance}} started",
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
    within = ""
    for name in ("namespace", "job", "instance"):
        query = f"label_values(sre_server_build_info{{{within}}}, {name})"
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }
        within = f'{within}, {name}=~"${name}"'.lstrip(", ")


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the panels, left to right and top to bottom."""
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        left, top, height = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, **_panel(panel), "gridPos": place}
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    is_stat = panel.kind == "stat"
    steps = [{"value": value, "color": color} for value, color in panel.steps or ((None, "green"),)]
    lines = {
        "fillOpacity": 20 if panel.stacked else 5,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    defaults |= {"color": {"mode": "thresholds"}} if is_stat else {"min": 0, "custom": lines}
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
        if is_stat
        else {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    )
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
