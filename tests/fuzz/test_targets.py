"""What the fuzzers' targets hold against the product is a fault of the product."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import request


class RequestTests(SynchronousTestCase):
    """The target that answers one request by the fast lane and the ordinary way."""

    def test_after_a_write(self) -> None:
        """Both ways answer alike after a write as well, whatever id and time it got."""
        body = b'{"replicas": 5}'
        request(
            b"PUT /deployments/shop/web/replicas HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        for path in (b"/deployments/shop/web", b"/changes", b"/deployments/shop/web/changes"):
            request(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
