"""Tells twistd of the `sre-server` command; everything else is loaded only when that is chosen."""

from twisted.application.service import ServiceMaker

sre_server = ServiceMaker(
    "SRE server", "sre_server.tap", "Serve Deployment replica counts over mutual TLS.", "sre-server"
)
