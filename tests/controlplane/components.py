"""How each program of the control plane is started: its whole command line, and where its data are."""

from dataclasses import dataclass
from pathlib import Path

from .daemon import LOOPBACK
from .identity import Credentials

MANIFESTS = Path(__file__).parent / "manifests"
SERVICE_NETWORK = "10.96.0.0/16"
POD_NETWORK = "10.244.0.0/16"


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one control plane."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True)
class Layout:
    """Everything that the command lines of one control plane have in common."""

    binaries: Path
    workdir: Path
    ports: Ports
    authority: Credentials
    serving: Credentials
    service_account_key: Path
    compaction_interval: str
    watch_cache: bool

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{LOOPBACK}:{self.ports.apiserver}"

    @property
    def etcd_client(self) -> str:
        """The URL at which etcd serves the API server."""
        return f"http://{LOOPBACK}:{self.ports.etcd}"

    @property
    def etcd_data(self) -> Path:
        """The folder in which etcd keeps everything."""
        return self.workdir / "etcd"

    @property
    def audit_log(self) -> Path:
        """The file to which the API server adds a line for each request worth counting."""
        return self.workdir / "audit.log"


def etcd(layout: Layout) -> list[str]:
    """Return the command line of an etcd that is fast because it may lose everything."""
    peer = f"http://{LOOPBACK}:{layout.ports.etcd_peer}"
    return [
        str(layout.binaries / "etcd"),
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={layout.etcd_client}",
        f"--advertise-client-urls={layout.etcd_client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--socket-reuse-port",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(layout: Layout) -> list[str]:
    """Return the command line of an API server that authenticates, authorizes and audits for real."""
    return [
        str(layout.binaries / "kube-apiserver"),
        f"--etcd-servers={layout.etcd_client}",
        f"--etcd-compaction-interval={layout.compaction_interval}",
        f"--watch-cache={str(layout.watch_cache).lower()}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        *_serving(layout, layout.ports.apiserver),
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--anonymous-auth=false",
        f"--client-ca-file={layout.authority.certificate}",
        "--authorization-mode=Node,RBAC",
        # Without these taints a node is of use at once, so no controller has to watch over its heartbeats.
        "--disable-admission-plugins=TaintNodesByCondition",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.service_account_key}",
        f"--service-account-signing-key-file={layout.service_account_key}",
        f"--audit-policy-file={MANIFESTS / 'audit-policy.yaml'}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-mode=blocking",
        "--request-timeout=30s",
        # Otherwise an orderly shutdown waits until the last of its clients gives up watching.
        "--shutdown-watch-termination-grace-period=2s",
    ]


def controller_manager(layout: Layout, kubeconfig: Path) -> list[str]:
    """Return the command line of a controller manager with all but the controllers that need real nodes."""
    return [
        str(layout.binaries / "kube-controller-manager"),
        *_client(kubeconfig),
        f"--bind-address={LOOPBACK}",
        *_serving(layout, layout.ports.controller_manager),
        # A paused or stopped API server must not make healthy nodes look dead, and their pods evicted.
        "--controllers=*,-node-lifecycle-controller",
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={layout.service_account_key}",
        f"--root-ca-file={layout.authority.certificate}",
        f"--cluster-signing-cert-file={layout.authority.certificate}",
        f"--cluster-signing-key-file={layout.authority.key}",
    ]


def scheduler(layout: Layout, kubeconfig: Path) -> list[str]:
    """Return the command line of the scheduler."""
    return [
        str(layout.binaries / "kube-scheduler"),
        *_client(kubeconfig),
        f"--bind-address={LOOPBACK}",
        *_serving(layout, layout.ports.scheduler),
    ]


def kwok(layout: Layout, kubeconfig: Path) -> list[str]:
    """Return the command line of the program that plays every node and the pods on it."""
    return [
        str(layout.binaries / "kwok"),
        f"--kubeconfig={kubeconfig}",
        f"--config={MANIFESTS / 'stages.yaml'}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=0",
        f"--cidr={POD_NETWORK}",
    ]


def _serving(layout: Layout, port: int) -> list[str]:
    """Return the flags by which a Kubernetes server serves HTTPS on a reserved port."""
    return [
        f"--secure-port={port}",
        "--permit-port-sharing",
        f"--tls-cert-file={layout.serving.certificate}",
        f"--tls-private-key-file={layout.serving.key}",
        "--profiling=false",
    ]


def _client(kubeconfig: Path) -> list[str]:
    """Return the flags by which a Kubernetes component, the only one of its kind, reaches the API server."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
