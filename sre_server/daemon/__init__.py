"""How the process runs: `options` become a `config`; `lifecycle` orders starts and stops; `resources` asks the system.

`values` reads single options, `sharing` has those of a shared cache; `clusters` finds the cluster to serve; `observing`
reads metrics off what happens elsewhere; `healthcheck` is the image's HEALTHCHECK, a process of its own.
"""
