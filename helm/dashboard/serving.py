"""What is seen of requests, of the cache, and of the cluster behind it."""

from typing import Final

from helm.dashboard.making import QUARTER, SELECTED, SERVED, Panel, Query, Row, of, quantiles, rate, stat

SERVER_ERRORS: Final = f'{SERVED}, code=~"5.."'
WATCHERS: Final = f'sre_server_build_info{{{SELECTED}, role="watcher"}}'
ERRORS: Final = f'{SELECTED}, code=~"[45].."'
READS: Final = f'{SERVED}, method="GET"'
WRITTEN: Final = f'{SERVED}, method="PUT"'

OVERVIEW: Final = Row(
    "Overview",
    [
        stat(
            "Ready",
            "Share of the instances that serve whose readyz answers 200.",
            "percentunit",
            Query(f"avg({of('sre_server_ready')} unless on (namespace, job, instance) {WATCHERS})", "ready"),
            ((None, "red"), (0.5, "orange"), (1, "green")),
        ),
        stat(
            "Seen from outside",
            "1 if the last synthetic query succeeded: mutual TLS, health, and reads of both families.",
            "bool_yes_no",
            Query("min(sre_server_synthetic_success)", "synthetic query"),
            ((None, "red"), (1, "green")),
        ),
        stat(
            "Failed requests",
            "Share of the requests that were answered 5xx, health probes aside.",
            "percentunit",
            Query(
                f"({rate('sre_server_http_requests_total', labels=SERVER_ERRORS)} or vector(0))"
                f" / {rate('sre_server_http_requests_total', labels=SERVED)}",
                "5xx",
            ),
            ((None, "green"), (0.01, "orange"), (0.05, "red")),
        ),
        stat(
            "p95 of reads",
            "Nineteen reads in twenty are answered within this time.",
            "s",
            quantiles("sre_server_http_request_duration_seconds", READS)[1],
            ((None, "green"), (0.1, "orange"), (0.25, "red")),
        ),
        stat(
            "Age of the cache",
            "Seconds since what lags the most was heard from: of any instance, and any namespace that it serves.",
            "s",
            Query(f"max({of('sre_server_cache_age_seconds')})", "age"),
            ((None, "green"), (90, "orange"), (120, "red")),
        ),
        stat(
            "Certificate ends in",
            "Until the server's certificate, or the first client CA, ends.",
            "s",
            Query(f"min({of('sre_server_tls_certificate_expiry_timestamp_seconds')}) - time()", "remaining"),
            ((None, "red"), (86400, "orange"), (7 * 86400, "green")),
        ),
    ],
)

TRAFFIC: Final = Row(
    "Traffic",
    [
        Panel(
            "Requests by route",
            "Answered requests, by the template of the URL.",
            "reqps",
            [Query(rate("sre_server_http_requests_total", "method, route"), "{{method}} {{route}}")],
            stacked=True,
        ),
        Panel(
            "Answers by status",
            "All answers; `left` is a client that went before its answer.",
            "reqps",
            [Query(rate("sre_server_http_requests_total", "code"), "{{code}}")],
            stacked=True,
        ),
        Panel(
            "Errors by status",
            "Answers of 400 and above, by route; and what was too broken, too large or too slow to be a request.",
            "reqps",
            [
                Query(
                    rate("sre_server_http_requests_total", "code, route", ERRORS),
                    "{{code}} {{route}}",
                ),
                Query(rate("sre_server_http_refused_total", "code"), "{{code}} (no request)"),
            ],
        ),
        Panel(
            "Duration of reads",
            "From receipt to answer, of GET requests but health probes.",
            "s",
            quantiles("sre_server_http_request_duration_seconds", READS),
            width=QUARTER,
        ),
        Panel(
            "Duration of writes",
            "From receipt to answer, of PUT requests: mostly the cluster's own time.",
            "s",
            quantiles("sre_server_http_request_duration_seconds", WRITTEN),
            width=QUARTER,
        ),
        Panel(
            "Requests in flight",
            "Requests that are being worked on.",
            "short",
            [Query(f"sum by (instance) ({of('sre_server_http_requests_in_flight')})", "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Requests received",
            "Requests that were received whole, by method: more than are answered means that they pile up.",
            "reqps",
            [Query(rate("sre_server_http_requests_received_total", "method"), "{{method}}")],
            width=QUARTER,
        ),
    ],
)

CLUSTER: Final = Row(
    "Cluster and cache",
    [
        Panel(
            "Age of the cache",
            "Seconds since the cluster was last heard from, and the bound past which reads are refused.",
            "s",
            [
                Query(f"{of('sre_server_cache_age_seconds')}", "{{instance}} {{scope}}"),
                Query(f"min({of('sre_server_max_staleness_seconds')})", "bound"),
            ],
        ),
        Panel(
            "Size of the cache",
            "Objects that are known; instances that watch the same should agree.",
            "short",
            [Query(f"{of('sre_server_cache_objects')}", "{{resource}}, {{instance}}")],
        ),
        Panel(
            "Synced and ready",
            "1 once all was read of a scope, a namespace or (*) all of them; 1 while readyz answers 200.",
            "short",
            [
                Query(f"{of('sre_server_cache_synced')}", "synced, {{instance}} {{scope}}"),
                Query(f"{of('sre_server_ready')}", "ready, {{instance}}"),
            ],
        ),
        Panel(
            "Watch restarts",
            "Cycles of list and watch that ended, within five minutes; `ended` is how a healthy one ends.",
            "short",
            [Query(f"sum by (reason) (increase({of('sre_server_watch_restarts_total')}[5m]))", "{{reason}}")],
        ),
        Panel(
            "Relists",
            "Complete lists that were applied, within five minutes; each instance makes one every 10 to 15 minutes.",
            "short",
            [
                Query(
                    f"sum by (resource, reason) (increase({of('sre_server_relists_total')}[5m]))",
                    "{{resource}}, {{reason}}",
                )
            ],
        ),
        Panel(
            "Missing permissions",
            "1 while the cluster refuses the server what it needs for a part of its work.",
            "bool_yes_no",
            [Query(f"max by (permission) ({of('sre_server_permission_missing')})", "{{permission}}")],
        ),
        Panel(
            "Requests to the cluster",
            "By method and status; status 0 had no answer.",
            "reqps",
            [Query(rate("sre_server_kube_requests_total", "verb, code"), "{{verb}} {{code}}")],
            width=2 * QUARTER,
        ),
        Panel(
            "Duration of requests to the cluster",
            "Until the headers of the cluster's answer.",
            "s",
            quantiles("sre_server_kube_request_duration_seconds", SELECTED),
            width=2 * QUARTER,
        ),
    ],
)
