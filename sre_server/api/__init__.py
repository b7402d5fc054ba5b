"""The two families of URLs, health, metrics and the OpenAPI document, on top of `sre_server.web`.

`factory` makes the sites. `lane` answers plain reads from bytes to bytes; `gate` admits clients, within the bounds of
`limiting`, to what they have `asked`; `routing` maps errors to the `statuses` of a family, and values to JSON;
`routes` has the kinds of routes: reads, lists and writes. `deployments` and `namespaces` are the two families;
`picture` draws one Deployment whole, `planning` says what would become of its count, `changes` tells who changed
counts; `waiting` has answers wait, as `preferences` say; `temporary` sets the counts that are there for a time only,
`noted` shows them, and `ends` tells of their ends. `bodies`, `lists`, `conditional` and `newness` are what both do to
read, `counts`, `judging` and `writing` what both do to write; `slices` does what takes long without holding up
others; `health`, `metrics` and `openapi` serve what their names say.
"""
