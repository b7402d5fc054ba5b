"""How fast and how small the server is, measured as its users run it: `make bench`. Nothing here is a test."""
