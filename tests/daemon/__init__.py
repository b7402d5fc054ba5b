"""Tests of how the process runs, in memory."""
