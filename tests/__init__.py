"""The suite: in memory here, real sockets and processes in `functional/`, a real Kubernetes in `controlplane/`."""
