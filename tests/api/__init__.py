"""Tests of what the API serves, in memory."""
