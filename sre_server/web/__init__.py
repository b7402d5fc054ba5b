"""An HTTP/1.1 server on mutual TLS that knows nothing of what it serves.

`site` makes a `channel` for each connection and counts them; `channel` and `request` take bytes in and refuse what is
not proper HTTP; `turns` says whose request is next; `answers` is what every answer has.
"""
