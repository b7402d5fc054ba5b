"""What the daemon tells of itself: `metrics`, `identities` (metrics by client), `access` lines, and `logs`' formats."""
