"""What an SRE wants to know of a Deployment beside its count; see docs/day.md. In the reactor thread only.

`factory` makes what the API asks. `autoscalers` knows, by the cache's news, what holds counts in bounds; `owners` says
in words who else sets a count, `rollout` how far a Deployment has come. `waits` has all who wait for news of one;
`outcomes` tells what comes of a write, `causes` what keeps its pods from running. `plan` says what would become of a
count, `basis` what that stands on. `temporary` knows the counts that are there for a time only, `setting` sets them,
`returning` looks when they are due, and `ending` sets them back. `changes` finds out which counts changed, and by whom,
and keeps that in a `record`, and in `untold` what the watch has yet to tell of; `telling` has the log and the metrics
say so.
"""
