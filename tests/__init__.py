"""The suite: in memory here, real sockets and processes in `functional/`, a real Kubernetes in `controlplane/`.

`image/` builds and runs the image, `benchmarks/` measures, `alerts/` has the histories of promtool's tests.
"""
