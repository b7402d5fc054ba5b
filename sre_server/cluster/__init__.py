"""Everything that talks to Kubernetes: the only room that imports the `kubernetes` client.

`credentials` finds the cluster, and says for each request what it takes (`access`): a `session` of a `kubeconfig` that
keeps to `kubeconfig_rules`, with its `tokens`, `exec_plugin` and `proxies`, what `documents` reads, and `tls`.
`connection` opens requests over the `pool` and yields raw bytes, as `transport` has it, and `chunked` and `lines` cut
them; `decoding` turns bytes into model events. `watching` (with `gathering`, and `version` for whether
lists are streamed) and `polling` run one blocking cycle in a thread; `feed` runs the cycles, backs off and hands events
to the reactor. `scaling` writes, `events` tells of it, `reviews` asks what clients may do; `workers` has the pools of
all of them. `loading` keeps most of the `kubernetes` package from being imported.
"""
