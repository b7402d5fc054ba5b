"""What texts Kubernetes would make: names and UIDs; its resourceVersions, which can be compared; addresses in words."""

import re
from typing import Final

# RFC 1123 section 2.1, as Kubernetes applies it: namespaces are labels, Deployments are subdomains.
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_LABEL: Final = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
MAX_NAMESPACE_NAME: Final = 63
MAX_DEPLOYMENT_NAME: Final = 253
NAMESPACE_RULE: Final = f"at most {MAX_NAMESPACE_NAME} characters: a-z, 0-9 and '-', the ends a-z or 0-9"
DEPLOYMENT_RULE: Final = f"at most {MAX_DEPLOYMENT_NAME} characters: a-z, 0-9, '-' and '.', the ends a-z or 0-9"
"""The rules in words, for whoever gave a name that could be none."""
_NAMESPACE: Final = re.compile(_LABEL, re.ASCII)
_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_CLEAN: Final = re.compile(r"[\x21\x23-\x7e]{1,128}")


def at_least_as_new(version: str, than: str) -> bool:
    """Tell whether resourceVersion `version` is `than`, or later than it.

    Kubernetes guarantees that resourceVersions of one resource compare as decimal integers (KEP-5504). Should one of
    them be something else, nothing can be known, and the answer is True: what arrived last counts.
    """
    if not all(text.isascii() and text.isdecimal() for text in (version, than)):
        return True
    ours, theirs = version.lstrip("0"), than.lstrip("0")
    return (len(ours), ours) >= (len(theirs), theirs)


def is_namespace_name(text: str) -> bool:
    """Tell whether Kubernetes would accept `text` as the name of a namespace (a DNS-1123 label)."""
    return len(text) <= MAX_NAMESPACE_NAME and _NAMESPACE.fullmatch(text) is not None


def is_clean(text: str) -> bool:
    """Tell whether a UID or a resourceVersion can stand in a header field, an entity tag (RFC 9110, 8.8.3), a URL."""
    return _CLEAN.fullmatch(text) is not None


def is_deployment_name(text: str) -> bool:
    """Tell whether Kubernetes would accept `text` as the name of a Deployment (a DNS-1123 subdomain)."""
    return len(text) <= MAX_DEPLOYMENT_NAME and _SUBDOMAIN.fullmatch(text) is not None


def no_store(namespace: str | None, name: str) -> str:
    """Say that the ConfigMap of temporary counts is not there, and how to make it."""
    make = f"kubectl create configmap {name} --namespace {namespace}"
    return f"The ConfigMap '{name}' of --temporary-store does not exist: {make}"


def sentence(text: str) -> str:
    """End a text as a sentence ends, once."""
    return text if text.endswith(("?", "!")) else f"{text.rstrip('.')}."


def server_text(host: str, port: object) -> str:
    """Write host and port as in a URL, an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
