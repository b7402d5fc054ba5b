"""Everything that speaks HTTP to the server's clients: both families of URLs, health, and the limits of the site.

`site`, `channel` and `request` take bytes in and refuse what is not proper HTTP; `turns` says whose request is next;
`lane` answers plain reads from bytes to bytes; `gate` admits clients; `app` maps errors to the `statuses` of a family,
and values to JSON; `answers` is what they all say alike. `deployments` and `namespaces` are the two families, `bodies`
and `conditional` what both do to read, `writing` what both do to write; `health`, `metrics` and `openapi` serve what
their names say.
"""
