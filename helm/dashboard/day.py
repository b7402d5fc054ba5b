"""What is seen of counts: who sets them, which are for a time, what came of them."""

from typing import Final

from helm.dashboard.making import SELECTED, Panel, Query, Row, of, rate

_UNDONE: Final = f'{SELECTED}, rule=~"autoscaler|mass"'

_CHANGES: Final = f"max by (program) (rate(sre_server_count_changes_total{{{SELECTED}}}[$__rate_interval]))"

DAY: Final = Row(
    "The day",
    [
        Panel(
            "Who sets counts",
            "Counts that changed, by the program that set them; a 0 that is set through /scale, as by kubectl scale, "
            "leaves no trace of it. As the instance has it that saw the most: each of them sees all.",
            "reqps",
            [Query(_CHANGES, "{{program}}")],
            stacked=True,
        ),
        Panel(
            "What came of writes",
            "Of those that somebody waited for.",
            "reqps",
            [Query(rate("sre_server_wait_outcomes_total", "outcome"), "{{outcome}}")],
            stacked=True,
        ),
        Panel(
            "Waiting",
            "Requests that wait for what comes of a write, or for news.",
            "short",
            [Query(f"sum by (instance) ({of('sre_server_waits')})", "{{instance}}")],
        ),
        Panel(
            "Refused for the day's sake",
            "Writes that an autoscaler would have undone, and those of one client that set too many Deployments to 0.",
            "reqps",
            [Query(rate("sre_server_guardrail_denials_total", "rule", _UNDONE), "{{rule}}")],
        ),
        Panel(
            "Temporary counts",
            "Deployments whose count is there for a time only.",
            "short",
            [Query(f"max({of('sre_server_temporary_active')})", "in force")],
        ),
        Panel(
            "Temporary counts overdue",
            "For how long the one has been due that is late for the longest; it should have been set back.",
            "s",
            [Query(f"max by (instance) ({of('sre_server_temporary_overdue_seconds')})", "{{instance}}")],
        ),
        Panel(
            "Ends of temporary counts",
            "Those that were set back, and those that were not, as somebody else had set another count.",
            "reqps",
            [
                Query(rate("sre_server_temporary_returns_total", "result"), "{{result}}"),
                Query(rate("sre_server_temporary_superseded_total"), "superseded, in all"),
            ],
        ),
    ],
)
