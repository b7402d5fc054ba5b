"""Tests of what talks to Kubernetes, in memory."""
