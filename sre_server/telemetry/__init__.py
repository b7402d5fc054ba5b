"""What the daemon tells of itself: `metrics`, `identities` (metrics by client), `access` lines, and `logs`' formats.

`output` is standard output, for those who write lines to it.
"""
