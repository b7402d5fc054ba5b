"""The table of kubeconfig documents: what each says, and what follows from it, for kubectl and for us.

In all texts `$NAME` stands for what the test has made: URLs, files, certificates in base64.
"""

from tests.functional.kubeconfig_cases import (
    ALICE,
    HALF_ARGUMENT,
    NOBODY,
    PAIR,
    PLAIN,
    V1,
    Case,
    bearer,
    plugin,
)
from tests.functional.kubeconfig_clusters import PROXIES, SERVERS, TLS

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
