"""What the daemon tells of itself: `metrics`, `access` lines, and `logs`' formats.

Of the metrics, `identities` has those by client, and `tallies` those of every request. `output` is standard output, for
those who write lines to it.
"""
