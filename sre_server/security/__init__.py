"""The trust boundary: who may connect, who that is, what they may do, how often, and who is told of it.

`tls`, `trust` and `revocations` decide on connections, by the files that `pem` reads; `identity` names a client,
`clients` looks at its standing on every request. `authorization` is the question what it may do, `policy` and
`delegation` are answers; `questions` are what the cluster is asked, `asking` asks them as seldom as it may, `verdicts`
remembers the answers and `known_views` what lists show by them. `guardrails` bounds every write, `stops` remembers who
stopped how many, `limits` how often anybody may ask. `audit` is what an audit log has, `audit_service` keeps it in one
of the `sinks`, with `refusals` summed up. `documents` reads YAML that people wrote, `globs` finds names in it that
nothing can have, `reloading` takes changed files over; `factory` makes all of it. Nothing in here knows what is
protected.
"""
