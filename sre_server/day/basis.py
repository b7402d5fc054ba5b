"""What a plan stands on and should not change before it is carried out: as text, part by part, and as short digests.

The digests make a plan verifiable by any server, with nothing stored. What is in use at a moment is no part of it, or
every plan would be out of date at once. What is not known is a value of its own.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sre_server.day.owners import applier_of, perhaps_applier_of
from sre_server.model import Autoscaler, Deployment, Guards, Owners, Quota

NOT_KNOWN: Final = "?"
PARTS: Final = (
    "the autoscaler or its bounds",
    "whether it is paused",
    "who else sets the count",
    "what the quotas allow",
    "the guardrails",
    "the temporary count",
)
"""What the parts of a basis are, in words."""
_DIGEST_BYTES: Final = 4


def basis_of(
    deployment: Deployment,
    autoscaler: Autoscaler | None,
    quotas: Sequence[Quota] | None,
    *,
    autoscalers_known: bool,
    guardrails: bytes,
    temporary: str | None,
) -> list[str]:
    """Return a digest of each of PARTS."""
    progress, owners = deployment.progress, deployment.owners or Owners()
    bounds = repr(autoscaler and (autoscaler.name, autoscaler.minimum, autoscaler.maximum))
    allowed = NOT_KNOWN if quotas is None else repr([(quota.name, quota.stands) for quota in quotas])
    return [
        _digest(text)
        for text in (
            bounds if autoscalers_known else NOT_KNOWN,
            str(progress.paused) if progress else NOT_KNOWN,
            repr((owners.controller, applier_of(owners), perhaps_applier_of(owners))),
            allowed,
            repr((guardrails, deployment.guards or Guards())),
            temporary or "",
        )
    ]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def changed(then: Sequence[str], now: Sequence[str]) -> list[str]:
    """Name the parts that are not what they were; all of them if another version of the server made the digests."""
    if len(then) != len(now):
        return list(PARTS)
    return [part for part, old, new in zip(PARTS, then, now, strict=True) if old != new]
