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
    ],
)
