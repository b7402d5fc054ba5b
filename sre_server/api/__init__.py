"""Everything that speaks HTTP to the server's clients: both families of api.md, health, and the limits of the site.

`site` takes bytes in and refuses what is not proper HTTP; `app` maps errors to statuses and values to JSON;
`deployments` and `namespaces` are the two families; `health` is livez and readyz.
"""
