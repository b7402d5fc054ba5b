"""Writes helm/sre-server/files/dashboard.json, which the chart ships."""

import json
from pathlib import Path
from typing import Final

from helm.dashboard.day import DAY
from helm.dashboard.making import dashboard
from helm.dashboard.running import CLIENTS, INSTANCES, SYNTHETIC, WRITES
from helm.dashboard.serving import CLUSTER, OVERVIEW, TRAFFIC
from helm.dashboard.sharing import SHARED_CACHE

FILE: Final = Path(__file__).parents[1] / "sre-server/files/dashboard.json"


def as_json() -> str:
    """Return the file's contents."""
    rows = (OVERVIEW, TRAFFIC, CLUSTER, SHARED_CACHE, WRITES, DAY, CLIENTS, INSTANCES, SYNTHETIC)
    return json.dumps(dashboard(rows), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_json())
