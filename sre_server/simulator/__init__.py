"""An embedded Kubernetes API: the demo of a newcomer and the engine of the fault tests.

A small cluster lives in memory and is spoken to over real HTTP on the loopback interface, by the same client code
that talks to a production cluster. Nothing in here knows the product in front of it.

From the bottom up; no module imports from a line below its own:

- `kinds`, `statuses`: the resources that are served, and how a refusal is worded.
- `objects`, `ownership`, `population`, `patching`: objects as dictionaries, who owns the count of one, those of a new
  cluster, and patches of them.
- `collection`: the objects of one resource, with a bounded history of their changes.
- `timers`, `rollout`, `pods`, `budgets`, `autoscaling`, `controllers`: what acts on changes by itself, on the clock
  that the caller passes in: rollouts, quotas, HorizontalPodAutoscalers.
- `reviews`, `store`: the cluster itself.
- `faults`: what goes wrong on purpose, and the count of requests.
- `queries`, `selecting`, `listing`, `watching`, `discovery`: what one request asks for, and what answers it.
- `api`, `control`: the Klein apps, of the Kubernetes API and of the faults.
- `service`: the port. `python -m sre_server.simulator` runs it alone.

A new resource is one more `Kind`; what acts on changes by itself is one more of the `controllers`.

What is believable here is what a client can see: versions, Status objects, list pages cut from one snapshot, watch
streams, preconditions, dry runs, rollouts, and what stands in their way: an autoscaler of `shop/storefront`, a quota in
`payments`, an image that is gone (`monitoring/grafana`), a pool that is full (`default/status-page`). Pods are made up
for whoever looks. There is no admission, and SubjectAccessReviews decide nothing but themselves. `kubectl get`,
`get --watch` and `scale` work; other commands may ask for what is not served here.
"""
