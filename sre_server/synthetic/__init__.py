"""A synthetic query: one client's view of a server, from the handshake to the replica count, told as metrics.

A process of its own that shares no line with the server: `python -m sre_server.synthetic`, run every few minutes.
`client` is its one connection, `checks` what it asks, `reporting` how it tells.
"""
