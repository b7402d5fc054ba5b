"""What a client asks for, in words and as a line of the audit log."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sre_server.errors import Conflict, NotIdentified, NotPermitted
from sre_server.security.audit import Record, timestamp
from sre_server.security.authorization import Verb
from sre_server.security.identity import Identity
from sre_server.web.request import APIRequest

REASON_LENGTH: Final = 256
NOT_IDENTIFIED: Final = "not identified"
NOT_PERMITTED: Final = "not permitted"
_OUTCOMES: Final = {NotIdentified: NOT_IDENTIFIED, NotPermitted: NOT_PERMITTED, Conflict: Conflict.__name__}
"""Those that are not called as their errors are, whose subclasses are nobody's concern."""


class Asked(Struct, frozen=True):
    """One thing that a client wants, for messages and for the audit log."""

    request: APIRequest
    identity: Identity | None
    verb: Verb
    namespace: str | None
    name: str | None
    has_line: bool = False
    """Whether whoever asks tells the audit log of a refusal, in a line that has more to say."""

    def by(self, identity: Identity | None) -> "Asked":
        """Return the same, wanted by somebody who is known, or is not."""
        return replace(self, identity=identity)

    def __str__(self) -> str:
        """Say it in words."""
        if self.namespace is None:
            return f"{self.verb.value} everything"
        what = f"'{self.name}'" if self.name else "the Deployments"
        return f"{self.verb.value} {what} in '{self.namespace}'"

    def record(self, certificate_sha256: str | None = None, **known: str | int | None) -> Record:
        """Return the audit line of it, with what else is known; the certificate is that of a client without a name."""
        identity = self.identity
        return Record(
            time=timestamp(),
            request_id=self.request.request_id,
            identity=identity.name if identity else None,
            groups=identity.groups if identity else (),
            certificate_sha256=identity.certificate_sha256 if identity else certificate_sha256,
            address=self.request.address,
            action=self.verb.value,
            namespace=self.namespace,
            name=self.name,
            reason=reason_of(self.request),
            **known,  # type: ignore[arg-type]  # fields of Record, each of its own type
        )


class Permitted(Struct, frozen=True):
    """A write of one Deployment that a client was permitted, at a time by the clock of the gate."""

    request: APIRequest
    identity: Identity
    namespace: str
    name: str
    at: float

    def asked(self, *, has_line: bool = False) -> Asked:
        """Return what was asked for."""
        return Asked(self.request, self.identity, Verb.SCALE, self.namespace, self.name, has_line)

    def record(self, **known: str | int | None) -> Record:
        """Return the audit line of it, with what else is known."""
        return self.asked().record(None, **known)


def outcome_of(error: Exception) -> str:
    """Return the outcome of a write that an error ended, as the audit log has it."""
    for kind, outcome in _OUTCOMES.items():
        if isinstance(error, kind):
            return outcome
    return type(error).__name__


def reason_of(request: APIRequest) -> str | None:
    """Return the `X-Reason` header, made printable and cut to 256 characters; None if there is nothing left of it."""
    given = request.getHeader(b"x-reason")
    if given is None:
        return None
    text = "".join(character for character in given.decode("utf-8", "replace") if character.isprintable())
    return text[:REASON_LENGTH].strip() or None
