"""The resources that the simulated cluster serves, and their names on the wire."""

from typing import Any

import msgspec

Object = dict[str, Any]
Key = tuple[str, str]
"""The namespace of an object, empty where its kind has none, and its name."""


class Kind(msgspec.Struct, frozen=True):
    """One resource: its names in URLs, in objects and in messages."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("create", "delete", "get", "list", "watch")

    @property
    def api_version(self) -> str:
        """Return the apiVersion that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name that the API server uses in its messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def single(self, body: bytes) -> bytes:
        """Return the JSON of an object with its kind and apiVersion, which items of a list leave out."""
        return b'{"kind":"%b","apiVersion":"%b",%b' % (self.name.encode(), self.api_version.encode(), body[1:])


NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False, short_names=("ns",))
EVENTS = Kind("", "v1", "events", "Event", short_names=("ev",))
CONFIG_MAPS = Kind(
    "",
    "v1",
    "configmaps",
    "ConfigMap",
    short_names=("cm",),
    verbs=("create", "delete", "get", "list", "patch", "watch"),
)
QUOTAS = Kind(
    "",
    "v1",
    "resourcequotas",
    "ResourceQuota",
    short_names=("quota",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment", short_names=("deploy",))
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease", verbs=("create", "get", "list", "update", "watch"))
PODS = Kind("", "v1", "pods", "Pod", short_names=("po",), verbs=("get", "list"))
AUTOSCALERS = Kind(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    short_names=("hpa",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)
BUDGETS = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short_names=("pdb",))
STORED = (NAMESPACES, EVENTS, CONFIG_MAPS, QUOTAS, DEPLOYMENTS, LEASES, AUTOSCALERS, BUDGETS)
SERVED = (*STORED, PODS)
REVIEWS = Kind(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=("create",)
)
SELF_REVIEWS = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=("create",),
)
