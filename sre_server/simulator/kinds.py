"""The resources that the simulated cluster holds, and how they are called on the wire."""

from typing import Any

import msgspec

Object = dict[str, Any]


class Kind(msgspec.Struct, frozen=True):
    """One resource: its names in URLs, in objects and in messages."""

    plural: str
    singular: str
    name: str
    group: str
    version: str
    namespaced: bool
    short_names: tuple[str, ...]

    @property
    def api_version(self) -> str:
        """Return the apiVersion that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name that the API server uses in its messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def heading(self) -> bytes:
        """Return the opening of a JSON object of this kind, up to its first own field."""
        return b'{"kind":"%s","apiVersion":"%s",' % (self.name.encode(), self.api_version.encode())

    def key(self, namespace: str, name: str) -> str:
        """Return what orders the objects of this kind, as etcd orders them: by one string."""
        return f"{namespace}/{name}" if self.namespaced else name


NAMESPACES = Kind("namespaces", "namespace", "Namespace", "", "v1", False, ("ns",))
EVENTS = Kind("events", "event", "Event", "", "v1", True, ("ev",))
DEPLOYMENTS = Kind("deployments", "deployment", "Deployment", "apps", "v1", True, ("deploy",))
REVIEWS = Kind(
    "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", "authorization.k8s.io", "v1", False, ()
)
