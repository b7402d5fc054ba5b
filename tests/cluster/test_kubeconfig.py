"""Kubeconfig files, good ones and every kind of bad one."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from kubernetes.client.rest import should_bypass_proxies
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.credentials import Kubeconfig
from sre_server.cluster.tokens import TokenFile
from sre_server.errors import CredentialsError

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: first
clusters:
- {name: one, cluster: {server: "https://one.example:6443"}}
- {name: two, cluster: {server: "https://two.example:6443"}}
users:
- {name: alice, user: {token: alices-token}}
contexts:
- {name: first, context: {cluster: one, user: alice}}
- {name: second, context: {cluster: two, user: alice}}
- {name: dangling, context: {cluster: absent, user: alice}}
- {name: nobody, context: {cluster: one, user: absent}}
"""


class KubeconfigTests(SynchronousTestCase):
    """Kubeconfig files."""

    def setUp(self) -> None:
        """Write one."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = str(self.file("config", KUBECONFIG))

    def file(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def check_fails(self, path: str, context: str | None = None) -> str:
        """Check that a kubeconfig fails in one line, both when it is checked and when it is used; return the line."""
        credentials = Kubeconfig(path, context)
        lines = []
        for use in (credentials.check, credentials.access):
            with self.assertRaises(CredentialsError) as raised:
                use()
            lines.append(str(raised.exception))
            self.assertNotIn("\n", lines[-1])
            self.assertLess(len(lines[-1]), 500)
        self.assertEqual(lines[0], lines[1])
        return lines[0]

    def test_current_context(self) -> None:
        """Without a context the file's own current one counts."""
        Kubeconfig(self.path).check()
        access = Kubeconfig(self.path).access()
        self.assertEqual(access.configuration.host, "https://one.example:6443")
        self.assertEqual(access.headers, (("Authorization", "Bearer alices-token"),))
        self.assertIs(access.configuration.retries, False)

    def test_named_context(self) -> None:
        """A context that is named counts instead."""
        self.assertEqual(Kubeconfig(self.path, "second").access().configuration.host, "https://two.example:6443")

    def proxied(self, server: str, environ: dict[str, str], proxy_url: str = "") -> bool:
        """Tell whether a server would be asked through a proxy."""
        cluster = f'server: "{server}"' + (f', proxy-url: "{proxy_url}"' if proxy_url else "")
        path = self.file("proxied", KUBECONFIG.replace('server: "https://one.example:6443"', cluster))
        configuration = Kubeconfig(str(path), environ=environ).access().configuration
        return bool(configuration.proxy) and not should_bypass_proxies(configuration.host, configuration.no_proxy or "")

    def test_proxy_of_the_environment(self) -> None:
        """The environment's proxy for the scheme counts, but for loopback, and what $NO_PROXY names."""
        https = {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "internal.example, 10.0.0.0/8"}
        for server, environ, proxied in (
            ("https://one.example:6443", https, True),
            ("https://one.example:6443", {"https_proxy": "proxy:1"}, True),
            ("https://one.example:6443", {"HTTP_PROXY": "http://proxy:1"}, False),
            ("http://one.example:6443", {"HTTP_PROXY": "http://proxy:1"}, True),
            ("https://api.internal.example:6443", https, False),
            ("https://10.1.2.3:6443", https, False),
            ("https://localhost:6443", https, False),
            ("https://127.0.0.2:6443", https, False),
            ("https://[::1]:6443", https, False),
        ):
            with self.subTest(server, environ=environ):
                self.assertEqual(self.proxied(server, environ), proxied)

    def test_proxy_of_the_kubeconfig(self) -> None:
        """What the kubeconfig names is used in any case: a tunnel may well lead to a cluster "on" loopback."""
        for server in ("https://one.example:6443", "https://127.0.0.1:6443", "https://localhost:6443"):
            with self.subTest(server):
                self.assertTrue(self.proxied(server, {"NO_PROXY": "*"}, "http://127.0.0.1:3128"))

    def test_token_file_is_read_again(self) -> None:
        """A token file is read again after a minute, as in a pod; one of two lines is then an error that names it."""
        self.file("token", "one\n")
        kubeconfig = Kubeconfig(
            str(self.file("rotated", KUBECONFIG.replace("token: alices-token", "tokenFile: token")))
        )
        self.assertEqual(kubeconfig.access().headers, (("Authorization", "Bearer one"),))
        self.file("token", "two\n")
        self.assertEqual(kubeconfig.access().headers, (("Authorization", "Bearer one"),))
        self.patch(TokenFile, "REREAD_AFTER", 0)
        self.assertEqual(kubeconfig.access().headers, (("Authorization", "Bearer two"),))
        self.file("token", "three\nlines\n")
        error = str(self.assertRaises(CredentialsError, kubeconfig.access))
        self.assertIn(str(self.folder / "token"), error)
        self.assertNotIn("three", error)

    def test_missing_file(self) -> None:
        """A file that does not exist is named."""
        self.assertIn("nowhere", self.check_fails(str(self.folder / "nowhere")))

    def test_empty_file(self) -> None:
        """An empty file is named, also one of comments only."""
        self.assertIn("empty", self.check_fails(str(self.file("empty", ""))))
        self.check_fails(str(self.file("comment", "# nothing\n")))

    def test_folder(self) -> None:
        """A folder is no kubeconfig."""
        self.check_fails(str(self.folder))

    def test_not_yaml(self) -> None:
        """What is no YAML, no mapping, or no text at all is no kubeconfig."""
        for number, text in enumerate(("{", "a: b: c", "\t- x", "just words", "[1, 2]", "7", "\x00", "clusters: 7")):
            with self.subTest(text):
                self.check_fails(str(self.file(f"bad{number}", text)))
        binary = self.folder / "binary"
        binary.write_bytes(b"\xff\xfe\x00\x01")
        self.check_fails(str(binary))

    def test_no_such_context(self) -> None:
        """A context that is not in the file is named."""
        self.assertIn("third", self.check_fails(self.path, "third"))

    def test_no_current_context(self) -> None:
        """A file without a current context needs one to be named."""
        path = str(self.file("none", KUBECONFIG.replace("current-context: first", "")))
        self.check_fails(path)
        Kubeconfig(path, "second").check()

    def test_context_of_an_absent_cluster(self) -> None:
        """A context whose cluster is not in the file is refused, and the cluster is named."""
        self.assertIn("absent", self.check_fails(self.path, "dangling"))

    def test_context_of_an_absent_user(self) -> None:
        """A context whose user is not in the file is refused: it must not become an anonymous one."""
        self.assertIn("absent", self.check_fails(self.path, "nobody"))

    def test_list_of_files(self) -> None:
        """Several files are merged as kubectl merges them: the first to say something counts, missing ones do not."""
        other = KUBECONFIG.replace("one.example", "shadowed.example").replace("two.example", "also.shadowed")
        other = other.replace("name: second", "name: third").replace("cluster: two", "cluster: one")
        paths = [self.path, str(self.folder / "missing"), str(self.file("other", other)), ""]
        joined = os.pathsep.join(paths)
        self.assertEqual(Kubeconfig(joined, "first").access().configuration.host, "https://one.example:6443")
        self.assertEqual(Kubeconfig(joined, "third").access().configuration.host, "https://one.example:6443")

    def test_current_context_of_several_files(self) -> None:
        """Of several files the first that names a current context decides, as for kubectl: else we write elsewhere."""
        silent = str(self.file("silent", KUBECONFIG.replace("current-context: first", 'current-context: ""')))
        other = str(self.file("other", KUBECONFIG.replace("current-context: first", "current-context: second")))
        joined = os.pathsep.join([silent, self.path, other])
        self.assertEqual(Kubeconfig(joined).access().configuration.host, "https://one.example:6443")
