"""An embedded Kubernetes API: the demo of a newcomer and the engine of the fault tests.

A small cluster lives in memory and is spoken to over real HTTP on the loopback interface, by the same client code
that talks to a production cluster, and by kubectl. Nothing in here knows the product in front of it.

How the rooms depend on each other, from the bottom up:

- `kinds`, `statuses`, `selection`, `patching`, `protobuf`, `objects`, `population`: values and functions, no Twisted.
- `collection`: the objects of one resource, with a bounded history of their changes.
- `events`, `rollout`, `validation`, `reviews`, `store`: the cluster itself; rollouts move on the clock that the caller
  passes in.
- `journal`, `faults`: what was asked of the API, and what goes wrong on purpose.
- `answers`, `calls`, `listing`, `tables`, `watching`, `writing`: one HTTP request each, read or answered.
- `gate`: the journal, the faults and the token, which every request passes.
- `discovery`, `api`, `control`: the Klein apps.
- `service`: the port. `python -m sre_server.simulator` runs it alone; `testtools` does without a network.

What is believable here is what a client can see: versions, Status objects, list pages cut from one snapshot, watch
streams, preconditions, rollouts. There are no pods and no admission; Events are only what clients leave.
SubjectAccessReviews are answered by rules that a test sets, but nobody is refused anything because of them.
"""
