"""Clients of the API that others' generators make of `/openapi.json`, and a day's work for each of them."""
