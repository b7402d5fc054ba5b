"""Cases of kubeconfigs about clusters: TLS, servers, proxies."""

from tests.functional.kubeconfig_cases import (
    ALICE,
    CLUSTER,
    FIRST,
    NAMED,
    PAIR,
    Case,
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
