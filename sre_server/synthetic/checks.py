"""What is asked, and what must come back: both families, from the health of the server to one replica count."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeGuard

from sre_server.synthetic.client import Answer, Trouble

ATTEMPTS: Final = 3
CHECKS: Final = ("connect", "livez", "readyz", "namespaces", "deployments", "replicas", "agreement")
_GONE: Final = (404, 410)


class Asker(Protocol):
    """See `sre_server.synthetic.client.Client`."""

    def connect(self) -> float:
        """Connect, and return when the server's certificate ends."""

    def get(self, path: str) -> Answer:
        """Make a GET request; raises Trouble."""


class Outcome(NamedTuple):
    """What came of one check, in how many seconds, and a line about it."""

    check: str
    success: bool
    seconds: float
    message: str


class Report(NamedTuple):
    """What came of all of them; `certificate_ends` is the server's, in seconds since the epoch, where it was seen."""

    outcomes: list[Outcome]
    certificate_ends: float | None

    @property
    def success(self) -> bool:
        """Whether every check succeeded."""
        return all(outcome.success for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return sum(outcome.seconds for outcome in self.outcomes)


def make_checks(client: Asker, now: Callable[[], float] = time.perf_counter) -> Report:
    """Make every check in turn; without a connection none of the others is made, and each of them has failed."""
    checks = _Checks(client)
    outcomes: list[Outcome] = []
    for name in CHECKS:
        if outcomes and not outcomes[0].success:
            outcomes.append(Outcome(name, False, 0.0, "not made for want of a connection"))
            continue
        began = now()
        try:
            success, message = True, getattr(checks, name)()
        except Trouble as trouble:
            success, message = False, str(trouble)
        outcomes.append(Outcome(name, success, now() - began, message))
    return Report(outcomes, checks.certificate_ends)


class _Checks:
    """Each check returns a line about what it saw, or raises Trouble."""

    def __init__(self, client: Asker) -> None:
        self._client = client
        self.certificate_ends: float | None = None

    def connect(self) -> str:
        self.certificate_ends = self._client.connect()
        ends = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.certificate_ends))
        return f"mutual TLS 1.3; the server's certificate ends {ends}"

    def livez(self) -> str:
        self._get("/livez")
        return "alive"

    def readyz(self) -> str:
        self._get("/readyz")
        return "ready"

    def namespaces(self) -> str:
        return f"{len(self._namespaces())} namespaces"

    def deployments(self) -> str:
        tree = self._deployments("/deployments")
        return f"{sum(map(len, tree.values()))} Deployments in {len(tree)} namespaces"

    def replicas(self) -> str:
        for namespace, name in self._some():
            count = self._count(namespace, name)
            if count is not None:
                return f"{namespace}/{name} has {count}"
        return "there is no Deployment to read"

    def agreement(self) -> str:
        """Compare the families; what changes while it is read is read again."""
        difference = ""
        for _ in range(ATTEMPTS):
            difference = self._difference()
            if not difference:
                return "both families say the same"
        raise Trouble(difference)

    def _difference(self) -> str:
        ours, theirs = self._deployments("/deployments"), self._deployments("/namespaces/ANY/deployments")
        if ours != theirs:
            return "/deployments and /namespaces/ANY/deployments differ"
        if not set(ours) <= set(self._namespaces()):
            return "/deployments has a namespace that /namespaces has not"
        for namespace, name in self._some():
            one = self._count(namespace, name)
            other = self._count(namespace, name, f"/namespaces/{namespace}/deployments/{name}/replica_count")
            if one != other:
                return f"{namespace}/{name} has {one} replicas in one family and {other} in the other"
        return ""

    def _get(self, path: str, *allowed: int) -> Answer:
        answer = self._client.get(path)
        if answer.status != 200 and answer.status not in allowed:
            said = answer.json.get("message", "") if isinstance(answer.json, dict) else ""
            raise Trouble(f"GET {path} was answered {answer.status}: {said}")
        return answer

    def _namespaces(self) -> list[str]:
        found = self._get("/namespaces").json
        names = found.get("namespaces") if isinstance(found, dict) else None
        if not _are_names(names):
            raise Trouble("GET /namespaces was answered with something else than names")
        return names

    def _deployments(self, path: str) -> dict[str, list[str]]:
        found = self._get(path).json
        if not isinstance(found, list) or not all(_is_namespace(each) for each in found):
            raise Trouble(f"GET {path} was answered with something else than Deployments by namespace")
        return {each["namespace"]: each["deployments"] for each in found}

    def _some(self) -> list[tuple[str, str]]:
        """Name a few Deployments: one may go while it is asked for."""
        tree = self._deployments("/deployments")
        return [(namespace, name) for namespace, names in tree.items() for name in names][:ATTEMPTS]

    def _count(self, namespace: str, name: str, path: str = "") -> int | None:
        """Return a Deployment's replicas, or None if it has gone."""
        path = path or f"/deployments/{namespace}/{name}/replicas"
        answer = self._get(path, *_GONE)
        if answer.status in _GONE:
            return None
        found = answer.json if isinstance(answer.json, dict) else {}
        count = found.get("replicas", found.get("replica_count"))
        if (found.get("namespace"), found.get("deployment")) != (namespace, name) or type(count) is not int:
            raise Trouble(f"GET {path} was answered with something else than its replica count")
        return count


def _are_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_namespace(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("namespace"), str) and _are_names(value.get("deployments"))
