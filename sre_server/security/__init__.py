"""Who may connect: the TLS policy of the API port."""
