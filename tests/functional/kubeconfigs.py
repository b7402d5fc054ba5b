"""The table of kubeconfig documents: what each says, and what follows from it, for kubectl and for us.

In all texts `$NAME` stands for what the test has made: URLs, files, certificates in base64.
"""

from collections.abc import Mapping
from typing import NamedTuple

CLUSTER = '{server: "$TLS", certificate-authority-data: $CA}'
NAMED = '{server: "https://cluster.example:6443", certificate-authority-data: $CA}'
PLAIN = '{server: "$PLAIN"}'
PAIR = "client-certificate-data: $CERTIFICATE, client-key-data: $KEY"
V1 = "client.authentication.k8s.io/v1"
HALF_ARGUMENT = ', args: ["\\ud800"]'


class Case(NamedTuple):
    """One document, and what arrives: `sent` has what is not as usual. Or it is refused, with a text that says why."""

    name: str
    user: str = "{token: secret-one}"
    cluster: str = CLUSTER
    context: str = "{cluster: k, user: u}"
    more: str = ""
    sent: Mapping[str, object] = {}
    refused: str | None = None
    only_here: bool = False
    """kubectl does something with it that this server cannot, or should not."""
    environ: Mapping[str, str] = {}
    via: str = ""
    """The proxy that was asked, and for what."""
    files: str = "$FOLDER/config"
    """$KUBECONFIG."""

    def document(self) -> str:
        """Write it, unless it is all of `more`."""
        if self.more.startswith("!"):
            return self.more[1:]
        return f"""apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: k, cluster: {self.cluster}}}]
users: [{{name: u, user: {self.user}}}]
contexts: [{{name: c, context: {self.context}}}]
{self.more}
"""


def plugin(command: str = "bin/plugin", version: str = V1, mode: str = "Never", more: str = "") -> str:
    """Write a user's exec plugin."""
    mode = f", interactiveMode: {mode}" if mode else ""
    return f"exec: {{apiVersion: {version}, command: {command}{mode}{more}}}"


def bearer(token: str) -> dict[str, object]:
    """What arrives with this token."""
    return {"authorization": f"Bearer {token}"}


NOBODY: dict[str, object] = {"authorization": None}
ALICE: dict[str, object] = {"authorization": None, "certificate": "alice"}
FIRST: dict[str, object] = {"server_name": "cluster.example"}
AS = "as: joe"

TOKENS = (
    Case("a token"),
    Case("a token that looks like a date", "{token: 2001-01-01}", sent=bearer("2001-01-01")),
    Case("a token that is a number", "{token: 123}", refused="user.token"),
    Case("a token that ends in a newline", '{token: "secret-one\\n"}', refused="token"),
    Case("a token of two lines", '{token: "secret-one\\nsecret-two"}', refused="token"),
    Case("a token file with a newline, relative to the kubeconfig", "{tokenFile: token}", sent=bearer("from-file")),
    Case("a token file goes before a token", "{token: secret-one, tokenFile: token}", sent=bearer("from-file")),
    Case("a token stands in for a file that is away", "{token: secret-one, tokenFile: nowhere}"),
    Case("a token stands in for a file that is empty", "{token: secret-one, tokenFile: empty}"),
    Case("a token file that is away", "{tokenFile: nowhere}", refused="tokenFile $FOLDER/nowhere"),
    Case("a token file that is empty", "{tokenFile: empty}", refused="tokenFile $FOLDER/empty"),
    Case("a token file that is blank", "{tokenFile: blank}", refused="tokenFile $FOLDER/blank"),
    Case("a token file with a NUL in its name", '{tokenFile: "a\\0b"}', refused="NUL"),
    Case("a token with half a character", '{token: "secret-one\\ud800"}', refused="half a character"),
    Case("a password with half a character", '{username: joe, password: "\\udc80"}', refused="half a character"),
    Case("a token file of two lines", "{tokenFile: lines}", refused="tokenFile $FOLDER/lines"),
    Case("a token file of two lines beside a token", "{token: secret-one, tokenFile: lines}", refused="tokenFile"),
    Case("over plain HTTP nobody proves anything", "{token: secret-one}", PLAIN, sent=NOBODY),
    Case("a bare host and port is plain HTTP", "{token: secret-one}", '{server: "$HOST"}', sent=NOBODY),
    Case("a token file that is away is not read for plain HTTP", "{tokenFile: nowhere}", PLAIN, sent=NOBODY),
    Case("nothing to prove oneself with", "{}", refused="user 'u': there is no credential"),
    Case("a context without a user", context="{cluster: k}", refused="there is no credential"),
    Case("a context of a user who is not there", context="{cluster: k, user: bob}", refused="'bob'"),
    Case("a user and a password", '{username: joe, password: "é:x"}', sent={"authorization": "Basic am9lOsOpOng="}),
    Case("a user without a password", "{username: joe}", sent={"authorization": "Basic am9lOg=="}),
    Case("a password without a user", "{password: x}", refused="there is no credential"),
    Case("a password and a token", "{username: joe, password: x, token: secret-one}", refused="username"),
    Case("a password and a token file", "{username: joe, password: x, tokenFile: token}", refused="username"),
    Case("an auth-provider", "{token: secret-one, auth-provider: {name: gcp}}", refused="auth-provider"),
)

IMPERSONATION = (
    Case(
        "somebody else",
        '{token: secret-one, as: "system:serviceaccount:shop:nobody", as-groups: [b, a], as-uid: "7", '
        'as-user-extra: {reason: [one, two], "scope/é%": [three]}}',
        sent={
            "impersonation": (
                ("Impersonate-Extra-Reason", "one"),
                ("Impersonate-Extra-Reason", "two"),
                ("Impersonate-Extra-Scope%2F%C3%A9%25", "three"),
                ("Impersonate-Group", "a"),
                ("Impersonate-Group", "b"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-User", "system:serviceaccount:shop:nobody"),
            )
        },
    ),
    Case("a name beyond ASCII", "{token: secret-one, as: zoé}", sent={"impersonation": (("Impersonate-User", "zoé"),)}),
    Case(
        "over plain HTTP, too",
        "{as: joe}",
        PLAIN,
        sent={"authorization": None, "impersonation": (("Impersonate-User", "joe"),)},
    ),
    Case("a name of two lines", '{token: secret-one, as: "joe\\nX: y"}', refused="as holds"),
    Case("a group of two lines", '{token: secret-one, as: joe, as-groups: ["a\\nb"]}', refused="as-groups holds"),
    Case("a uid alone", '{token: secret-one, as-uid: "7"}', refused="as-uid"),
    Case("groups alone", "{token: secret-one, as-groups: [a]}", refused="as-groups"),
    Case("extras alone", "{token: secret-one, as-user-extra: {a: [b]}}", refused="as-user-extra"),
)

TLS = (
    Case("a CA in a file", cluster='{server: "$TLS", certificate-authority: pki/ca.crt}'),
    Case(
        "a CA in two ways",
        cluster='{server: "$TLS", certificate-authority: pki/ca.crt, certificate-authority-data: $CA}',
        refused="certificate-authority and certificate-authority-data",
    ),
    Case(
        "a CA file that is away",
        cluster='{server: "$TLS", certificate-authority: pki/no.crt}',
        refused="certificate-authority $FOLDER/pki/no.crt",
    ),
    Case(
        "a CA file that is away, over plain HTTP",
        "{}",
        '{server: "$PLAIN", certificate-authority: pki/no.crt}',
        refused="certificate-authority $FOLDER/pki/no.crt",
    ),
    Case(
        "a CA that is no PEM",
        cluster='{server: "$TLS", certificate-authority-data: aGVsbG8=}',
        refused="certificate-authority",
    ),
    Case(
        "a CA that is not base64",
        cluster='{server: "$TLS", certificate-authority-data: "%%%"}',
        refused="certificate-authority-data",
    ),
    Case("a CA with line breaks in its base64", cluster='{server: "$TLS", certificate-authority-data: "$WRAPPED"}'),
    Case("the very certificate as a CA", cluster='{server: "$TLS", certificate-authority: server.pem}'),
    Case("the system's CAs", cluster='{server: "$TLS"}', environ={"SSL_CERT_FILE": "$FOLDER/pki/ca.crt"}),
    Case("no verification", cluster='{server: "$TLS", insecure-skip-tls-verify: true}'),
    Case("no verification, as YAML says yes", cluster='{server: "$TLS", insecure-skip-tls-verify: yes}'),
    Case(
        "no verification, as text",
        cluster='{server: "$TLS", insecure-skip-tls-verify: "true"}',
        refused="insecure-skip-tls-verify",
    ),
    Case(
        "no verification, and a CA",
        cluster='{server: "$TLS", insecure-skip-tls-verify: true, certificate-authority: pki/ca.crt}',
        refused="insecure-skip-tls-verify",
    ),
    Case(
        "another name",
        cluster='{server: "$TLS", tls-server-name: cluster.example, certificate-authority-data: $CA}',
        sent=FIRST,
    ),
    Case("a client certificate", f"{{{PAIR}}}", sent=ALICE),
    Case("a client certificate in files", "{client-certificate: alice.pem, client-key: alice.key}", sent=ALICE),
    Case(
        "a client certificate, and its key in a file",
        "{client-certificate-data: $CERTIFICATE, client-key: alice.key}",
        sent=ALICE,
    ),
    Case("a client certificate and a token", f"{{token: secret-one, {PAIR}}}", sent={"certificate": "alice"}),
    Case(
        "a client certificate and a password",
        f"{{username: joe, password: x, {PAIR}}}",
        sent={"authorization": "Basic am9lOng=", "certificate": "alice"},
    ),
    Case(
        "a client certificate in two ways",
        f"{{client-certificate: alice.pem, {PAIR}}}",
        refused="client-certificate and client-certificate-data",
    ),
    Case("a client key in two ways", f"{{client-key: alice.key, {PAIR}}}", refused="client-key and client-key-data"),
    Case("a client certificate without its key", "{client-certificate-data: $CERTIFICATE}", refused="client-key"),
    Case("a client key alone is nothing", "{token: secret-one, client-key-data: $KEY}"),
    Case("another's key", "{client-certificate-data: $CERTIFICATE, client-key: bob.key}", refused="client-certificate"),
    Case(
        "a client certificate that is away",
        "{client-certificate: nowhere, client-key: alice.key}",
        refused="client-certificate $FOLDER/nowhere",
    ),
    Case(
        "a client key that is away",
        "{client-certificate: alice.pem, client-key: nowhere}",
        refused="client-key $FOLDER/nowhere",
    ),
    Case(
        "no compression",
        cluster='{server: "$TLS", disable-compression: true, certificate-authority-data: $CA}',
        sent={"gzip": False},
    ),
)

SERVERS = (
    Case(
        "a prefix",
        cluster='{server: "$TLS/k8s/clusters/a", certificate-authority-data: $CA}',
        sent={"path": "/k8s/clusters/a/version"},
    ),
    Case(
        "a prefix with too many slashes, and a query",
        cluster='{server: "$TLS//k8s//a/?x=y#z", certificate-authority-data: $CA}',
        sent={"path": "/k8s/a/version"},
    ),
    Case("a scheme in capitals", cluster='{server: "HTTPS://$TLSHOST", certificate-authority-data: $CA}'),
    Case("another scheme", cluster='{server: "ftp://$TLSHOST"}', refused="server"),
    Case("no scheme, but a path", cluster='{server: "$HOST/x"}', refused="server"),
    Case("white space", cluster='{server: " $TLS"}', refused="server"),
    Case("no server", cluster="{certificate-authority-data: $CA}", refused="server"),
    Case("a cluster that is not there", context="{cluster: east, user: u}", refused="'east'"),
    Case(
        "a user in the URL",
        cluster='{server: "https://joe:secret-two@$TLSHOST", certificate-authority-data: $CA}',
        refused="server names a user",
        only_here=True,
    ),
)

PROXIES = (
    Case(
        "a proxy to a name", cluster=NAMED[:-1] + ', proxy-url: "$HTTP"}', sent=FIRST, via="http cluster.example:6443"
    ),
    Case("a proxy to loopback", cluster=CLUSTER[:-1] + ', proxy-url: "$HTTP"}', via="http $TLSHOST"),
    Case(
        "a proxy with a password",
        cluster=NAMED[:-1] + ', proxy-url: "http://j%40e:p%3Aw@$HTTPADDRESS"}',
        sent=FIRST,
        via="http j@e:p:w@cluster.example:6443",
    ),
    Case(
        "a proxy for plain HTTP",
        "{as: joe, as-groups: [a, b]}",
        '{server: "http://cluster.example:6443", proxy-url: "$HTTP"}',
        sent={
            "authorization": None,
            "path": "http://cluster.example:6443/version",
            "impersonation": (("Impersonate-Group", "a"), ("Impersonate-Group", "b"), ("Impersonate-User", "joe")),
        },
        via="http http://cluster.example:6443/version",
    ),
    Case(
        "a proxy over TLS, of the cluster's CA, which is shown the client's certificate",
        f"{{{PAIR}}}",
        NAMED[:-1] + ', proxy-url: "$HTTPS"}',
        sent={**ALICE, **FIRST},
        via="https alice@cluster.example:6443",
    ),
    Case(
        "a proxy over TLS and another name",
        cluster=NAMED[:-1] + ', proxy-url: "$HTTPS", tls-server-name: localhost}',
        refused="tls-server-name",
        only_here=True,
    ),
    Case(
        "a SOCKS proxy, which looks the name up",
        cluster=NAMED[:-1] + ', proxy-url: "$SOCKS"}',
        sent=FIRST,
        via="socks5 cluster.example:6443",
    ),
    Case("a SOCKS proxy to loopback", cluster=CLUSTER[:-1] + ', proxy-url: "$SOCKS"}', via="socks5 $TLSHOST"),
    Case(
        "a SOCKS proxy with a password",
        cluster=NAMED[:-1] + ', proxy-url: "socks5://j%40e:p%3Aw@$SOCKSADDRESS"}',
        sent=FIRST,
        via="socks5 j@e:p:w@cluster.example:6443",
    ),
    Case("another kind of proxy", cluster=CLUSTER[:-1] + ', proxy-url: "socks4://$SOCKSADDRESS"}', refused="proxy-url"),
    Case("a proxy without a scheme", cluster=CLUSTER[:-1] + ', proxy-url: "$HTTPADDRESS"}', refused="proxy-url"),
    Case("a proxy that is no URL", cluster=CLUSTER[:-1] + ', proxy-url: "::::"}', refused="proxy-url"),
    Case(
        "the environment's proxy",
        cluster=NAMED,
        environ={"HTTPS_PROXY": "$HTTP"},
        sent=FIRST,
        via="http cluster.example:6443",
    ),
    Case(
        "the environment's SOCKS proxy",
        cluster=NAMED,
        environ={"https_proxy": "$SOCKS"},
        sent=FIRST,
        via="socks5 cluster.example:6443",
    ),
    Case("the environment's proxy is not for loopback", environ={"HTTPS_PROXY": "$HTTP"}),
    Case(
        "NO_PROXY is for the environment's only",
        cluster=NAMED[:-1] + ', proxy-url: "$HTTP"}',
        environ={"NO_PROXY": "*"},
        sent=FIRST,
        via="http cluster.example:6443",
    ),
)

PLUGINS = (
    Case("a plugin, relative to the kubeconfig", f"{{{plugin()}}}", sent=bearer("from-plugin")),
    Case("a plugin in PATH", f"{{{plugin('plugin')}}}", sent=bearer("from-plugin")),
    Case(
        "a plugin that only its own PATH has",
        f"{{{plugin('hidden', more=', env: [{name: PATH, value: $FOLDER/more}]')}}}",
        refused="exec.command hidden",
    ),
    Case("a plugin that is not there", f"{{{plugin('bin/nothing')}}}", refused="exec.command $FOLDER/bin/nothing"),
    Case(
        "a plugin with arguments and variables",
        f"{{{plugin('bin/echo', more=', args: [a], env: [{name: B, value: one}, {name: B, value: two}]')}}}",
        sent=bearer("a-two"),
    ),
    Case(
        "a plugin with a variable whose name has more than a name in it",
        f"{{{plugin('bin/echo', more=', args: [a], env: [{name: B=t, value: wo}]')}}}",
        sent=bearer("a-t=wo"),
    ),
    Case(
        "a plugin with half a character",
        f"{{{plugin('bin/echo', more=HALF_ARGUMENT)}}}",
        refused="half a character",
    ),
    Case("a plugin without arguments", f"{{{plugin(more=', args: null, env: null')}}}", sent=bearer("from-plugin")),
    Case(
        "a plugin with a certificate",
        f"{{{plugin('bin/certificate')}}}",
        sent={"authorization": "Bearer from-plugin", "certificate": "alice"},
    ),
    Case("a plugin of v1beta1", f"{{{plugin('bin/beta', V1 + 'beta1', '')}}}", sent=bearer("from-plugin")),
    Case("a plugin of v1alpha1", f"{{{plugin(version=V1 + 'alpha1')}}}", refused="exec.apiVersion"),
    Case("a plugin of no version", "{exec: {command: bin/plugin, interactiveMode: Never}}", refused="exec.apiVersion"),
    Case("a plugin that would like a terminal", f"{{{plugin(mode='IfAvailable')}}}", sent=bearer("from-plugin")),
    Case("a plugin that needs a terminal", f"{{{plugin(mode='Always')}}}", refused="exec.interactiveMode"),
    Case("a plugin that does not say", f"{{{plugin(mode='')}}}", refused="exec.interactiveMode"),
    Case(
        "a plugin without a command",
        f"{{{plugin(repr(''))}}}",
        refused="exec.command",
    ),
    Case("a plugin with a nameless variable", f"{{{plugin(more=', env: [{value: x}]')}}}", refused="exec.env"),
    Case("a token goes before a plugin", f"{{token: secret-one, {plugin('bin/failing')}}}"),
    Case(
        "a token file goes before a plugin", f"{{tokenFile: token, {plugin('bin/failing')}}}", sent=bearer("from-file")
    ),
    Case(
        "a user name goes before a plugin",
        f"{{username: joe, {plugin('bin/failing')}}}",
        sent={"authorization": "Basic am9lOg=="},
    ),
    Case("a client certificate goes before a plugin", f"{{{PAIR}, {plugin('bin/failing')}}}", sent=ALICE),
    Case("a plugin goes before a mere password", f"{{password: x, {plugin()}}}", sent=bearer("from-plugin")),
    Case("a plugin is not run for plain HTTP", f"{{{plugin('bin/failing')}}}", PLAIN, sent=NOBODY),
    Case(
        "a plugin that is told of the cluster",
        f"{{{plugin('bin/informed', more=', provideClusterInfo: true')}}}",
        '{server: "$TLS/a", tls-server-name: localhost, certificate-authority-data: $CA, extensions: '
        f"[{{name: {V1[:-3]}/exec, extension: {{audience: [x]}}}}]}}",
        sent={"path": "/a/version", "server_name": "localhost", "authorization": "Bearer localhost-x"},
    ),
    Case("a plugin that fails", f"{{{plugin('bin/failing')}}}", refused="exec plugin $FOLDER/bin/failing failed"),
    Case(
        "a plugin that prints nothing", f"{{{plugin('bin/silent')}}}", refused="exec plugin $FOLDER/bin/silent printed"
    ),
)

FILES = (
    Case("an empty file first", files="$FOLDER/empty:$FOLDER/config"),
    Case("a file with a comment only first", files="$FOLDER/comment:$FOLDER/config"),
    Case("a file of nulls first", files="$FOLDER/nulls:$FOLDER/config"),
    Case("a missing file, and none, first", files="$FOLDER/nowhere::$FOLDER/config"),
    Case("an empty file alone", files="$FOLDER/empty", refused="empty"),
    Case("a missing file alone", files="$FOLDER/nowhere", refused="nowhere"),
    Case(
        "a user of an earlier file, with paths of its own",
        files="$FOLDER/sub/config:$FOLDER/config",
        sent=bearer("from-sub"),
    ),
    Case("a user of a later file does not count", files="$FOLDER/config:$FOLDER/sub/config"),
    Case("the first current context counts", files="$FOLDER/config:$FOLDER/other"),
    Case("a broken file first", files="$FOLDER/broken:$FOLDER/config", refused="broken"),
    Case("a broken file last", files="$FOLDER/config:$FOLDER/broken", refused="broken"),
    Case("a file that is named twice", files="$FOLDER/config:$FOLDER/config"),
    Case(
        "two users of one name",
        more="users: [{name: u, user: {token: secret-one}}, {name: u, user: {token: other}}]",
        refused="users",
    ),
    Case("another kind", more="kind: Pod", refused="kind"),
    Case("another version", more="apiVersion: v2", refused="apiVersion"),
    Case("unknown fields", "{token: secret-one, colour: {a: b}}", more="colour: red"),
    Case("a field in capitals is unknown", "{Token: secret-one}", refused="there is no credential"),
    Case("a key twice: the last counts", "{token: secret-one, token: second}", sent=bearer("second")),
    Case("a second document is not read", more="---\n{"),
    Case("nulls are nothing", "{token: secret-one, as: null, as-groups: null, exec: null}"),
    Case("no current context", more="current-context: ''", refused="current-context"),
    Case("a current context that is not there", more="current-context: d", refused="'d'"),
    Case(
        "JSON with tabs",
        more='!{\n\t"current-context": "c", "clusters": [{"name": "k", "cluster": {"server": "$TLS", '
        '"certificate-authority-data": "$CA"}}],\n\t"users": [{"name": "u", "user": {"token": "secret-one"}}],\n'
        '\t"contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}',
    ),
    Case("no YAML", more="!{secret-one", refused="config"),
    Case("no mapping", more="!secret-one", refused="config"),
)

CASES = (*TOKENS, *IMPERSONATION, *TLS, *SERVERS, *PROXIES, *PLUGINS, *FILES)
