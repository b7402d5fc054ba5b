"""Real sockets, real TLS, and the real `twistd` as a subprocess."""
