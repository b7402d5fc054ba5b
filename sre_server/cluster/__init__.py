"""Everything that talks to Kubernetes: the only room that imports the `kubernetes` client.

`factory` makes what the other rooms use. `credentials` finds the cluster, and says for each request what it takes
(`access`): a `session` of a `kubeconfig` that keeps to `kubeconfig_rules`, with its `tokens`, `exec_plugin` and
`proxies`, what `documents` reads, and `tls`. `transport` is the interface of a connection, `connection` the one over
the network, out of a `pool`, with `chunked` and `lines` to cut what it receives; `decoding` turns objects into those of
the model, as do `workloads` those that count replicas and `scalings` the Events of our own writes; `kinds` is the table
of what is listed and watched, `unpacking` takes lists and watches apart, `heads` tells which one it is that cannot be
read, and `single` is what writes need, `quotas` what plans do, for which `surveying` looks around. `watching` (with
`paging`, `gathering`, and `version` for whether lists are streamed) and `polling` run one blocking cycle in a thread;
`feed` runs the cycles, backs off and hands events to the reactor. `scaling` writes, after `looking` one Deployment up
if need be, and `refusals` says what the cluster's no means; `events` records each write in the cluster, `notes` keeps
some texts of our own there, `reviews` asks what clients, and the server, may do, and `probing` whether that may be
asked at all; `pods` looks at those of one Deployment; `permissions` knows what the cluster refused. `lease` tells which
of several watchers leads, `whose` which cluster it is. Whatever blocks runs in the threads of `workers`, and nowhere
else. `loading` keeps most of the `kubernetes` package from being imported.
"""
