"""The options of a shared cache: which belong together, in one line for each mistake."""

from functools import partial

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sre_server.daemon import sharing
from sre_server.daemon.options import Options
from sre_server.daemon.sharing import PARAMETERS, Lease, Role, Sharing, parse_role, parse_sharing
from tests.fakes import temporary_folder


class SharingTests(SynchronousTestCase):
    """Roles, and what each needs."""

    def setUp(self) -> None:
        """Have a key."""
        self.seal = temporary_folder(self) / "seal"
        self.seal.write_text("a key of the tests")

    def parse(self, role: Role, **given: str) -> Sharing | None:
        """Read options, underscores for hyphens."""
        defaults: dict[str, str | None] = {name: default for name, _, default, _ in PARAMETERS}
        return parse_sharing(role, defaults | {name.replace("_", "-"): value for name, value in given.items()})

    def share(self, role: Role = Role.API, **given: str) -> Sharing:
        """Read options that go with a Redis and a key."""
        found = self.parse(role, **{"cache": "redis://r", "cache_seal": str(self.seal), **given})
        assert found is not None
        return found

    def refusal(self, role: Role = Role.API, **given: str) -> str:
        """The one line that options get."""
        error = str(self.assertRaises(UsageError, partial(self.share, role, **given)))
        self.assertEqual(len(error.splitlines()), 1)
        return error

    def test_alone(self) -> None:
        """By default nothing is shared, and options of a shared cache are a mistake."""
        self.assertIsNone(self.parse(Role.ALL))
        for name, value in {"cache": "redis://r", "cache_name": "x", "lease": "a/b", "cache_ca": "f"}.items():
            error = self.assertRaises(UsageError, partial(self.parse, Role.ALL, **{name: value}))
            self.assertIn(f"--{name.replace('_', '-')}: only with --role watcher or --role api", str(error))

    def test_together(self) -> None:
        """A Redis and a key are all that must be said."""
        store = self.share().store
        self.assertEqual((store.name, store.seal), ("default", self.seal))
        self.assertEqual(str(store), "redis://r:6379/0")
        files = dict.fromkeys(
            ("cache_ca", "cache_certificate", "cache_private_key", "cache_password_file"), str(self.seal)
        )
        self.assertTrue(self.share(Role.API, cache="rediss://r:1", cache_user="me", **files).store.address.encrypted)
        sentinel = {"cache_sentinel_user": "me", "cache_sentinel_password_file": str(self.seal)}
        store = self.share(Role.API, cache="redis+sentinel://a,b/main", **sentinel).store
        self.assertEqual((store.address.master, store.sentinel_user, store.user), ("main", "me", None))
        self.assertEqual(store.sentinel_password_file, self.seal)
        self.assertEqual(self.share(Role.WATCHER, lease="sre/watch").lease, Lease("sre", "watch"))

    def test_mistakes(self) -> None:
        """Each names the options that belong together."""
        for role in (Role.API, Role.WATCHER):
            error = self.assertRaises(UsageError, self.parse, role)
            self.assertTrue(str(error).endswith("needs --cache redis://HOST:PORT and --cache-seal FILE"), error)
            error = self.assertRaises(UsageError, self.parse, role, cache="redis://r")
            self.assertTrue(str(error).endswith("needs --cache-seal FILE"), error)
            error = self.assertRaises(UsageError, self.parse, role, cache_seal=str(self.seal))
            self.assertTrue(str(error).endswith("needs --cache redis://HOST:PORT"), error)
        self.assertIn("--lease is for --role watcher", self.refusal(lease="a/b"))
        self.assertIn("--lease is NAMESPACE/NAME", self.refusal(Role.WATCHER, lease="watch"))
        self.assertIn("passwords come from files", self.refusal(cache="redis://:secret@r"))
        self.assertIn("redis+sentinel://HOST:PORT,HOST:PORT/MASTER-NAME", self.refusal(cache="redis+sentinel://r"))
        self.assertIn("--cache-sentinel-password-file: only", self.refusal(cache_sentinel_password_file=str(self.seal)))
        self.assertIn("only with --cache rediss://", self.refusal(cache_ca=str(self.seal)))
        self.assertIn("belong together", self.refusal(cache="rediss://r", cache_certificate=str(self.seal)))
        self.assertIn("--cache-user needs", self.refusal(cache_user="me"))
        error = self.refusal(cache="redis+sentinel://r/main", cache_sentinel_user="me")
        self.assertIn("--cache-sentinel-user needs --cache-sentinel-password-file", error)
        self.assertIn("--cache-name is of", self.refusal(cache_name="Blue!"))
        self.assertIn("is not a file", self.refusal(cache_seal="/nowhere"))
        self.assertIn("all, watcher or api", str(self.assertRaises(UsageError, parse_role, "reader")))

    def test_secrets(self) -> None:
        """A key that is too short is found out at once, and a password in a mistyped URL is not repeated."""
        for cache in (
            "redis:/:secret@r:1/0",
            "redis:u:secret@r",
            "u:secret@r:6379",
            "redis//u:secret@r",
            "redis://u:secret",
            "redis://u,secret",
            "secret://r",
            "redis://r/secret",
            "redis://r:0",
        ):
            error = self.refusal(cache=cache)
            self.assertIn("--cache: ", error)
            self.assertNotIn("secret", error)
        for text in ("", "short", "a key of the tests\nshort"):
            self.seal.write_text(text)
            self.assertIn("needs a key of at least 16 characters", self.refusal())

    def test_without_the_extra(self) -> None:
        """Without redis-py one line says how to get it."""
        self.patch(sharing, "find_spec", lambda name: None)
        self.assertIn("with its extra 'redis'", self.refusal())

    def test_a_simulated_cluster_is_not_shared(self) -> None:
        """It would be another one in each process."""
        arguments = ["--role=watcher", "--cache=redis://r", f"--cache-seal={self.seal}", "--cluster=simulated"]
        error = self.assertRaises(UsageError, Options({}).parseOptions, arguments)
        self.assertIn("python -m sre_server.simulator --kubeconfig FILE", str(error))
