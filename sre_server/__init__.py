"""A small daemon that serves Kubernetes Deployments' replica counts over mutual TLS."""

__version__ = "0.1.0"
