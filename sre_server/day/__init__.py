"""What an SRE wants to know of a Deployment beside its count; see docs/day.md. In the reactor thread only.

`factory` makes what the API asks. `autoscalers` knows, by the cache's news, what holds counts in bounds; `owners` says
in words who else sets a count, `rollout` how far a Deployment has come.
"""
