"""Everything that talks to Kubernetes: the only room that imports the `kubernetes` client.

`credentials` finds the cluster; `connection` opens requests and yields raw bytes, as `transport` has it, and `chunked`
and `lines` cut them; `decoding` turns objects into those of the model, `unpacking` takes lists and watches of them
apart, and `heads` tells which one it is that cannot be read. `watching` (with `paging`, `gathering`, and `version` for
whether lists are streamed) and `polling` run one blocking cycle in a thread; `feed` runs the cycles, backs off and
hands events to the reactor. `scaling` writes, `events` tells of it, `reviews` asks what clients may do, and `probing`
whether that may be asked at all; `permissions` knows what the cluster refused. `workers` has the pools of all of them.
`loading` keeps most of the `kubernetes` package from being imported.
"""
