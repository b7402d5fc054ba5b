"""Tests of the synthetic query."""
