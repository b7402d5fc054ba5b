"""Everything that talks to Kubernetes: the only room that imports the `kubernetes` client.

`factory` makes what the other rooms use. `credentials` finds the cluster; `transport` is the interface of a connection,
`connection` the one over the network, with `chunked` and `lines` to cut what it receives; `decoding` turns that into
model events. `watching` (with `gathering`, and `version` for whether lists are streamed) and `polling` run one blocking
cycle in a thread; `feed` runs the cycles, backs off and hands events to the reactor. `scaling` writes, `events` records
each write in the cluster, `reviews` asks what clients may do. `lease` tells which of several watchers leads, `whose`
which cluster it is. Whatever blocks runs in the threads of `workers`, and nowhere else. `loading` keeps most of the
`kubernetes` package from being imported.
"""
