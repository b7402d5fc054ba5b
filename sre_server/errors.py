"""What can go wrong, in the words of the domain; only `sre_server.api` knows which HTTP status each one is.

The text of every error here may be shown to a client: one sentence that says what was wrong and, where there is one,
the way out.
"""

from collections.abc import Sequence


class SreServerError(Exception):
    """Something that the server can explain to the client; `retry_after` is in seconds, None where retrying is vain."""

    retry_after: int | None = None
    missing_right: str | None = None
    """What the server itself may not do in the cluster, as in `patch deployments/scale`, where that is the cause."""


class Malformed(SreServerError):
    """The request itself is wrong: a name, a number or a body that can never be served."""


class UnsupportedMediaType(SreServerError):
    """The body is of a type that this server does not read."""


class NotIdentified(SreServerError):
    """The client's certificate carries no identity that the server can use.

    `certificate_sha256` tells which certificate that is, in hex, where there is one.
    """

    certificate_sha256: str | None = None


class NotPermitted(SreServerError):
    """The client is known, and may not do this; `rule` is what decided so, if that is known."""

    def __init__(self, message: str, rule: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule


class PreconditionFailed(SreServerError):
    """The write was for another state than the Deployment has: nothing was changed.

    `replicas` and `uid` are what it has, where that is known.
    """

    def __init__(self, message: str, replicas: int | None = None, uid: str | None = None) -> None:
        super().__init__(message)
        self.replicas = replicas
        self.uid = uid


class GuardrailRefused(SreServerError):
    """A guardrail stands against the write; `rule` is its name, one of few, for metrics and the audit log."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class TooManyRequests(SreServerError):
    """The client asks more often than it may; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(SreServerError):
    """The namespace or the Deployment does not exist."""


class NotTemporary(NotFound):
    """The Deployment exists, and has no temporary count."""


class Unavailable(SreServerError):
    """The server cannot answer now: not synced, out of date, or busy; the request is worth repeating."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Crowded(Unavailable):
    """Too much is under way already: this was not even tried."""


class ClusterError(SreServerError):
    """The cluster did not do what it was asked; subclasses say what is known of the outcome."""


class ClusterUnreachable(ClusterError):
    """The request never reached the cluster: nothing was changed."""


class CredentialsError(ClusterUnreachable):
    """The cluster cannot be asked as configured; the text names the file or the field, and nothing that is secret."""


class ClusterRefused(ClusterError):
    """The cluster answered, and refused: nothing was changed.

    `status` is its HTTP status, `warnings` the values of its Warning fields.
    """

    def __init__(self, message: str, status: int, retry_after: int | None = None, warnings: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.warnings = warnings


class AdmissionRefused(ClusterRefused):
    """The cluster's own admission stands against the object (a webhook, a policy, a quota): nothing was changed."""


class ClusterThrottled(ClusterRefused):
    """The cluster is asked more often than it likes: nothing was changed, and the request is worth repeating."""


class Conflict(ClusterRefused):
    """The object was changed by somebody else at the same time: nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 409)


class ClusterBroke(ClusterError):
    """The connection broke, or the answer made no sense, after the request was sent: the outcome is unknown."""


class ClusterTimedOut(ClusterError):
    """The cluster did not answer in time: the outcome is unknown."""


class Expired(ClusterError):
    """The resourceVersion that was asked for is no longer kept (410 Gone): only a new list helps."""


class BadAnswer(ClusterError):
    """The cluster sent something that is not a Kubernetes list or watch event."""


class Silent(ClusterError):
    """A watch brought nothing for too long, not even a bookmark: only a list can tell whether all is well."""


class TooShort(ClusterError):
    """A watch ended at once, with nothing said: asking again at once would be a busy loop."""


class StoreError(Exception):
    """The shared cache in Redis did not do what it was asked: no client is ever told, the operator is, in the log."""

    retry_after: int | None = None


class StoreUnreachable(StoreError):
    """Redis cannot be reached, or did not answer: what was asked of it may have been done."""


class StoreRefused(StoreError):
    """Redis, or what is in it, is not what this server was configured for: somebody has to mend that."""


class StoreIncomplete(StoreError):
    """What is in Redis does not make a whole at present: a watcher completes it."""


class StoreLost(StoreIncomplete):
    """What a watcher has published is no longer in Redis: only to publish it anew is of use."""


class StoreFenced(StoreError):
    """Another watcher publishes now."""


class StoreForged(StoreRefused):
    """What is in Redis is not sealed with a key of ours."""
