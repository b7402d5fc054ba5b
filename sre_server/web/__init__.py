"""An HTTP/1.1 server on mutual TLS that knows nothing of what it serves.

A `site` makes a `channel` for each of its `connections`, as far as these have room; `channel` and `request` take bytes
in, `bounded` refuses what is not proper HTTP, and `clocks` say for how long; `turns` says whose request is next, and
`intake` whose bytes; `answers` is what every answer has, `unsent` bounds what is not read of long ones, and `stalls`
for how long it is not. A `service` runs a site, with the TLS `transport` before it. `interfaces` is what they ask of
one another, and of a faster way that somebody may put before them. `twisted_channel`, `twisted_tls` and `twisted_tcp`
have the private parts of Twisted's that are needed.
"""
