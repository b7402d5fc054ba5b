"""kubeconfig files, read as kubectl reads them: several are merged, paths are resolved, and one context is chosen.

The rules are client-go's (tools/clientcmd). What kubectl refuses, or would ask a terminal for, is refused, and so is
the little that this server cannot do (`auth-provider`); the text names the file and the field, and quotes neither.
"""

import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from sre_server.cluster.documents import parse_document
from sre_server.cluster.tls import PEM
from sre_server.errors import CredentialsError

S = TypeVar("S", bound=Struct)


class Extension(Struct):
    """Something that others keep in a kubeconfig."""

    name: str = ""
    extension: Any = None


class Cluster(Struct, rename="kebab"):
    """Where a cluster is, and how it proves that."""

    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: list[Extension] = []


class EnvVar(Struct):
    """A variable for an exec plugin."""

    name: str = ""
    value: str = ""


class Exec(Struct, rename="camel"):
    """A program that prints credentials."""

    command: str = ""
    args: list[str] = []
    env: list[EnvVar] = []
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class User(Struct, rename="kebab"):
    """How to prove who we are, and whom to act as."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = field(default="", name="tokenFile")
    impersonate: str = field(default="", name="as")
    as_uid: str = ""
    as_groups: list[str] = []
    as_user_extra: dict[str, list[str]] = {}
    username: str = ""
    password: str = ""
    auth_provider: Any = None
    exec: Exec | None = None

    @property
    def has_certificate(self) -> bool:
        """Whether a client certificate is named; a key alone is nothing."""
        return bool(self.client_certificate or self.client_certificate_data)

    @property
    def plugin(self) -> Exec | None:
        """The program to run, if it comes to that: whatever is written down goes before it."""
        written = self.token or self.token_file or self.username or self.has_certificate
        return None if written else self.exec


class Context(Struct):
    """A cluster and a user of it."""

    cluster: str = ""
    user: str = ""


class _NamedCluster(Struct):
    name: str = ""
    cluster: Cluster = field(default_factory=Cluster)


class _NamedUser(Struct):
    name: str = ""
    user: User = field(default_factory=User)


class _NamedContext(Struct):
    name: str = ""
    context: Context = field(default_factory=Context)


class _Config(Struct, rename="kebab"):
    kind: str = ""
    api_version: str = field(default="", name="apiVersion")
    current_context: str = ""
    clusters: list[_NamedCluster] = []
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []


class Chosen(NamedTuple):
    """The cluster and the user of one context, with absolute paths; the two texts say where each of them stands."""

    cluster: Cluster
    user: User
    cluster_at: str
    user_at: str

    def authorities(self) -> PEM:
        """The CAs that the cluster's certificate must be of."""
        return self._pem(self.cluster_at, self.cluster, "certificate_authority")

    def pair(self) -> tuple[PEM, PEM] | None:
        """The client certificate and its key, if there is one."""
        if not self.user.has_certificate:
            return None
        return (
            self._pem(self.user_at, self.user, "client_certificate"),
            self._pem(self.user_at, self.user, "client_key"),
        )

    @staticmethod
    def _pem(at: str, stanza: Struct, name: str) -> PEM:
        title = f"{at}: {name.replace('_', '-')}"
        inline, path = getattr(stanza, f"{name}_data"), getattr(stanza, name)
        try:
            decoded = b64decode("".join(inline.splitlines()), validate=True) if inline else None
        except ValueError:
            raise CredentialsError(f"{title}-data is not base64.") from None
        return PEM(title, decoded, Path(path) if path else None)


def read_kubeconfig(paths: str, context: str | None = None) -> Chosen:
    """Read the file, or several that are joined as in $KUBECONFIG, and choose a context, the current one if None.

    The first file that names something counts; missing and empty files are passed over, unless nothing is left.
    Raises CredentialsError.
    """
    files = {path: file for path in paths.split(os.pathsep) if path and (file := _read(path))}
    if not any(file.clusters or file.contexts or file.current_context for file in files.values()):
        raise CredentialsError(f"The kubeconfig {paths} does not exist, or is empty.")
    name = context or next((file.current_context for file in files.values() if file.current_context), "")
    if not name:
        raise unusable(paths, "no current-context is set; name one with --context")
    path, found = _find(files, "contexts", name, f"there is no context '{name}'")
    wanted: Context = found.context
    of_whom = f"the context '{name}' names the"
    cluster_path, cluster = _find(
        files, "clusters", wanted.cluster, f"{of_whom} cluster '{wanted.cluster}', which is not there"
    )
    if wanted.user:
        path, named = _find(files, "users", wanted.user, f"{of_whom} user '{wanted.user}', who is not there")
        user = named.user
    else:
        user = User()
    return Chosen(
        _resolved(cluster.cluster, cluster_path, "certificate_authority"),
        _resolved(user, path, "client_certificate", "client_key", "token_file"),
        f"The kubeconfig {cluster_path} cannot be used: cluster '{wanted.cluster}'",
        f"The kubeconfig {path} cannot be used: user '{wanted.user}'",
    )


def unusable(path: str, what: str) -> CredentialsError:
    """Make the error for a kubeconfig that cannot be used, for `what` reason."""
    return CredentialsError(f"The kubeconfig {path} cannot be used: {what}.")


def _read(path: str) -> _Config | None:
    try:
        config = parse_document(Path(path).read_bytes(), _Config)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, f"it cannot be read: {error.strerror}") from error
    except CredentialsError as error:
        raise unusable(path, f"it {error}") from error
    if config.kind not in ("", "Config") or config.api_version not in ("", "v1"):
        raise unusable(path, "it is not of kind Config and apiVersion v1")
    for kind in ("clusters", "users", "contexts"):
        names = [named.name for named in getattr(config, kind)]
        if len(names) != len(set(names)):
            raise unusable(path, f"two of its {kind} have the same name")
    return config


def _find(files: Mapping[str, _Config], kind: str, name: str, missing: str) -> tuple[str, Any]:
    """Return the first stanza of this name, and the file that it stands in."""
    for path, file in files.items():
        for named in getattr(file, kind):
            if named.name == name:
                return path, named
    raise unusable(os.pathsep.join(files), missing)


def _resolved(stanza: S, path: str, *names: str) -> S:
    """Return a stanza with its relative paths made absolute: they are relative to the file that it stands in."""
    folder = Path(path).absolute().parent
    changes: dict[str, Any] = {name: str(folder / value) for name in names if (value := getattr(stanza, name))}
    if isinstance(stanza, User) and stanza.exec and "/" in stanza.exec.command:
        changes["exec"] = replace(stanza.exec, command=str(folder / stanza.exec.command))
    return replace(stanza, **changes)
