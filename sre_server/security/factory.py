"""The one factory of this room: files and the cluster's reviews in, what guards the server out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sre_server.security.audit import Record
from sre_server.security.audit_service import AuditLogService
from sre_server.security.authorization import AnyClient, Authorizer
from sre_server.security.clients import CertificateClients, Clients
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.guardrails import Guardrails, GuardrailsFile
from sre_server.security.policy import PolicyFile
from sre_server.security.questions import review_spec
from sre_server.security.reloading import Reloading, Watched
from sre_server.security.sinks import Sink, open_sink
from sre_server.security.tls import ServerTLS
from sre_server.telemetry.metrics import Metrics
from sre_server.telemetry.output import Output


class Review(Protocol):
    """Asks the cluster; see `sre_server.cluster.reviews.Reviews.review`."""

    def __call__(self, spec: Mapping[str, object], *, for_write: bool) -> Deferred[bool]:
        """Ask whether the user of a SubjectAccessReview's spec may do what it says."""


class Security(Struct, frozen=True):
    """What guards the server; `audit` and `reloading`, which takes over changed files, are services."""

    clients: Clients
    authorizer: Authorizer
    guardrails: Callable[[], Guardrails]
    audit: AuditLogService
    reloading: Service
    warnings: Callable[[], list[str]]


def make_security(
    reactor: IReactorTime,
    metrics: Metrics,
    tls: ServerTLS,
    *,
    policy: Path | None,
    review: Review | None,
    max_staleness: float,
    pass_system_names: bool,
    guardrails: Path | None,
    audit_log: str | None,
    stdout: Output,
    abandoned: Callable[[Record], object],
) -> Security:
    """Guard by the files given; with `review` the cluster decides, else `policy` does, or everybody may everything.

    `stdout` is where the audit log goes if it is `-`; `abandoned` is told of writes that are under way at the end.
    Raises SystemExit with one line for an audit log that cannot be opened.
    """
    watched = [
        Watched("server pair", tls.files.of_pair(), tls.reload_pair),
        Watched("client CAs and CRLs", tls.files.of_trust(), tls.reload_trust),
    ]
    authorizer: Authorizer = AnyClient()
    if review is not None:
        authorizer = KubernetesAuthorizer(
            lambda question, *, for_write: review(review_spec(question), for_write=for_write),
            time.monotonic,
            max_staleness,
            pass_system_names=pass_system_names,
        )
    elif policy is not None:
        policy_file = PolicyFile(policy)
        watched.append(Watched("policy", [policy], policy_file.reload))
        authorizer = policy_file.policy
    rules: Callable[[], Guardrails] = Guardrails
    if guardrails is not None:
        rules = guardrails_file = GuardrailsFile(guardrails)
        watched.append(Watched("guardrails", [guardrails], guardrails_file.reload))
    reloading = Reloading(reactor, metrics, watched)

    def warnings() -> list[str]:
        lists = tls.trust().expired_revocations()
        due = [f"the revocation list of {issuer} is past its next update" for issuer in lists]
        return reloading.warnings() + tls.warnings() + due

    audit = AuditLogService(reactor, _audit_sink(audit_log, stdout), metrics.audit_failures.inc, abandoned)
    return Security(CertificateClients(tls.trust), authorizer, rules, audit, reloading, warnings)


def _audit_sink(place: str | None, stdout: Output) -> Sink:
    try:
        return open_sink(place, stdout)
    except OSError as error:
        raise SystemExit(f"sre-server: the audit log {place} cannot be opened: {error.strerror}") from error
