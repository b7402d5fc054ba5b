"""Everything that talks to Kubernetes: the only room that imports the `kubernetes` client.

`connection` opens requests and yields raw bytes; `decoding` turns bytes into model events; `watching` and `polling` run
one blocking cycle in a thread; `feed` runs the cycles, backs off and hands events to the reactor; `scaling` writes.
"""
