"""Objects that are large, and those that are too large: they keep nobody from being served."""

from collections.abc import Iterator

from sre_server.cluster.paging import PAGE_BYTES
from sre_server.cluster.watching import LINE_BYTES
from sre_server.errors import ClusterTimedOut, Expired
from sre_server.model import Deployment, Unreadable
from sre_server.news import Deleted, Put
from tests.fakes import FakeReply, deployment
from tests.reflecting import Answer, ReflectorTestCase, changes_of, lists_of
from tests.wire import bookmark_line, event_line, list_page, refusal

_PIECE = b"\\u003c" * 40_000
_LARGE = 8 * 2**20
"""As much JSON as Kubernetes makes of the largest object that etcd takes by default."""
_HUGE = 17 * 2**20


def grown(drawn: bytes, size: int) -> Iterator[bytes]:
    """Let the one container of what is drawn have an argument, so that it comes to this size, in pieces."""
    before, after = drawn.split(b'"image": "nginx"', 1)
    yield before + b'"args": ["'
    for _ in range(size // len(_PIECE) + 1):
        yield _PIECE
    yield b'"], "image": "nginx"' + after


class LargeObjectTests(ReflectorTestCase):
    """A list and a watch of Deployments of which some are large."""

    def page(self, size: int, *items: Deployment, next_token: str = "") -> Answer:
        """Answer a page of which the first object is that large."""
        return FakeReply(200, grown(list_page(*items, next_token=next_token), size))

    def limits(self) -> list[object]:
        """Tell how many objects each list was asked for."""
        return [query["limit"] for _, _, query in self.cluster.requests if "limit" in query]

    def test_line(self) -> None:
        """An object that Kubernetes may store is read from a watch, however large."""
        line = grown(event_line("MODIFIED", deployment(version="101", replicas=9)), _LARGE)
        events = self.cycle(self.listed(deployment()), self.watched(*line, event_line("ADDED", deployment("api"))))
        self.assertEqual(changes_of(events), [Put(deployment(version="101", replicas=9)), Put(deployment("api"))])

    def test_line_that_is_too_large(self) -> None:
        """One that is larger is there, and is known not to be readable; the watch goes on, and so does its version."""
        huge = b"".join(grown(event_line("MODIFIED", deployment(version="101")), _HUGE))
        self.assertGreater(len(huge), LINE_BYTES)
        pieces = [huge[at : at + 2**18] for at in range(0, len(huge), 2**18)]
        later = event_line("ADDED", deployment("api", version="102"))
        events = self.cycle(self.listed(deployment()), self.watched(*pieces, later, bookmark_line("103")))
        unreadable, api = changes_of(events)
        assert isinstance(unreadable.object, Unreadable)
        self.assertEqual((unreadable.object.name, unreadable.object.resource_version), ("web", "101"))
        self.assertEqual(unreadable.object.why, "it is larger than Kubernetes would store")
        self.assertEqual(api, Put(deployment("api", version="102")))
        self.cycle(self.watched(bookmark_line("104")))
        self.assertEqual(self.asked()["resourceVersion"], "103")

    def test_line_that_is_too_large_ends(self) -> None:
        """It may be deleted, and it may become smaller."""
        for after in (event_line("DELETED", deployment(version="102")), event_line("MODIFIED", deployment())):
            self.setUp()
            huge = grown(event_line("ADDED", deployment(version="101")), _HUGE)
            *_, last = changes_of(self.cycle(self.listed(), self.watched(*huge, after)))
            self.assertIsInstance(last, Deleted if b"DELETED" in after else Put)
            self.assertNotIsInstance(last.object, Unreadable)

    def test_streamed(self) -> None:
        """A streamed list has what can be read, and knows what cannot."""
        self.reflector = self.make_reflector(self.reflector.source, streamed=True)
        huge = grown(event_line("ADDED", deployment("huge")), _HUGE)
        end = bookmark_line("100", initial_events_end=True)
        (listed,) = lists_of(self.cycle(self.watched(*huge, event_line("ADDED", deployment()), end)))
        self.assertEqual(listed.deployments["shop"]["web"], deployment())
        self.assertIsInstance(listed.deployments["shop"]["huge"], Unreadable)

    def test_pages_become_smaller(self) -> None:
        """A page that is too large is asked for again with fewer objects in it, and then they become more again."""
        page = self.page(PAGE_BYTES, deployment())
        answers = [page, page, self.page(_LARGE, deployment("a"), next_token="one"), self.listed(next_token="two")]
        (listed,) = lists_of(self.cycle(*answers, self.listed(deployment("b")), self.watched(bookmark_line("1"))))
        self.assertEqual(sorted(listed.deployments["shop"]), ["a", "b"])
        self.assertEqual(self.limits(), [500, 62, 7, 7, 14])

    def test_page_that_just_fits(self) -> None:
        """It is read as it is; one byte more, and it is asked for again."""
        for more in (0, 1):
            self.setUp()
            page = FakeReply(200, [list_page(deployment()).ljust(PAGE_BYTES + more)])
            self.cycle(page, *[self.listed(deployment())] * more, self.watched(bookmark_line("1")))
            self.assertEqual(self.limits(), [500, 62][: 1 + more])

    def test_page_of_one_that_is_too_large(self) -> None:
        """An object that is too large even for a page of its own is known not to be readable; the list goes on."""
        huge = self.page(PAGE_BYTES, deployment("huge", version="7"), next_token="more")
        answers = [huge, huge, huge, huge, self.listed(deployment())]
        (listed,) = lists_of(self.cycle(*answers, self.watched(bookmark_line("1"))))
        unreadable = listed.deployments["shop"]["huge"]
        assert isinstance(unreadable, Unreadable)
        self.assertEqual((unreadable.uid, unreadable.resource_version), ("uid-shop-huge", "7"))
        self.assertEqual(unreadable.why, "it is larger than Kubernetes would store")
        self.assertEqual(listed.deployments["shop"]["web"], deployment())
        self.assertEqual(self.limits(), [500, 62, 7, 1, 1])
        self.assertEqual(self.cluster.requests[4][2]["continue"], "more")

    def test_size_is_learned(self) -> None:
        """The next list begins with pages of the size that fitted."""
        page = self.page(PAGE_BYTES, deployment())
        self.cycle(page, self.page(_LARGE, deployment()), self.watched(bookmark_line("1"), seconds=1000))
        self.cycle(self.page(_LARGE, deployment()), self.watched(bookmark_line("1")))
        self.assertEqual(self.limits(), [500, 62, 62])

    def test_slow_pages_become_smaller(self) -> None:
        """A page that does not come whole in time is smaller in the next cycle."""
        self.cycle_fails(ClusterTimedOut, self.paced(31, [b"{", b" ", b" "]))
        self.cycle(self.listed(), self.watched(bookmark_line("1")))
        self.assertEqual(self.limits(), [500, 62])

    def test_whole_list_that_is_too_large(self) -> None:
        """Where pages expired, and all of the list is too large for one, they are read once more; then it fails."""
        first, expired = self.listed(deployment("a"), next_token="one"), refusal(410, "Expired")
        whole, second = self.page(PAGE_BYTES, deployment()), self.listed(deployment("b"))
        (listed,) = lists_of(self.cycle(first, expired, whole, first, second, self.watched(bookmark_line("1"))))
        self.assertEqual(sorted(listed.deployments["shop"]), ["a", "b"])
        self.reflector = self.make_reflector(self.reflector.source)
        self.cycle_fails(Expired, first, expired, whole, first, expired)
