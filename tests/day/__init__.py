"""Tests of what is known beside the Deployments, in memory."""
