"""Tests of the HTTP server, in memory."""
