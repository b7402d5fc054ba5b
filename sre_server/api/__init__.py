"""Everything that speaks HTTP to the server's clients: both families of api.md, health, and the limits of the site.

`site`, `channel` and `request` take bytes in and refuse what is not proper HTTP; `gate` admits clients; `app` maps
errors to the `statuses` of a family, and values to JSON; `deployments` and `namespaces` are the two families, `writing`
what both do to write; `health`, `metrics` and `openapi` serve what their names say.
"""
