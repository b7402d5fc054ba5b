"""What is seen of a cache that many instances share: of the watchers that publish, and of those that follow."""

from typing import Final

from helm.dashboard.making import QUARTER, SELECTED, Panel, Query, Row, of, quantiles, rate

SHARED_CACHE: Final = Row(
    "Shared cache",
    [
        Panel(
            "Publishing",
            "1 at the watcher that publishes: one of them, or nobody tells of the cluster any more.",
            "short",
            [Query(of("sre_server_store_leader"), "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Last entry",
            "Its number, at each instance: lines that part are instances that do not follow.",
            "short",
            [Query(of("sre_server_store_position"), "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Since the reign began",
            "Since the watcher that publishes took over, as each instance has it; a new reign follows a failover.",
            "s",
            [Query(f"time() - ({of('sre_server_store_epoch')} > 0) / 1e6", "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Lag",
            "Since the last entry was appended, or came: a second or two when nothing changes, 0 for who stands by.",
            "s",
            [Query(of("sre_server_store_lag_seconds"), "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Duration of appends",
            "Until Redis answered.",
            "s",
            quantiles("sre_server_store_append_duration_seconds", SELECTED),
            width=QUARTER,
        ),
        Panel(
            "Changes not published yet",
            "Objects that wait in the watcher, as while Redis is away or full.",
            "short",
            [Query(of("sre_server_store_pending_changes"), "{{instance}}")],
            width=QUARTER,
        ),
        Panel(
            "Reloads and failures",
            "Within five minutes: all was read again; cycles of publishing or following that ended.",
            "short",
            [
                Query(f"sum by (reason) (increase({of('sre_server_store_reloads_total')}[5m]))", "reload: {{reason}}"),
                Query(f"sum by (reason) (increase({of('sre_server_store_failures_total')}[5m]))", "{{reason}}"),
            ],
            width=QUARTER,
        ),
        Panel(
            "Connections to Redis",
            "Made anew, by all instances.",
            "cps",
            [Query(rate("sre_server_store_connects_total"), "connections")],
            width=QUARTER,
        ),
    ],
)
