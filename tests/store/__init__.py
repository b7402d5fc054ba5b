"""Tests of `sre_server.store`."""
