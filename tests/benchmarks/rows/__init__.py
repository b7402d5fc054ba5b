"""The rows of the table: each module measures one thing, or a few that share their set-up."""

from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Row
from tests.benchmarks.rows import apiserver
from tests.benchmarks.rows.decoding import list_page
from tests.benchmarks.rows.firsts import first_request
from tests.benchmarks.rows.following import following
from tests.benchmarks.rows.growth import growth
from tests.benchmarks.rows.handshakes import handshake
from tests.benchmarks.rows.idling import idle_connections
from tests.benchmarks.rows.leading import leading
from tests.benchmarks.rows.lists import compressed, lists, not_modified
from tests.benchmarks.rows.partial import partial_lists
from tests.benchmarks.rows.reads import single_read
from tests.benchmarks.rows.reviews import reviews
from tests.benchmarks.rows.shared_reads import shared_reads
from tests.benchmarks.rows.snapshots import snapshots
from tests.benchmarks.rows.starting import starting
from tests.benchmarks.rows.storm import storm
from tests.benchmarks.rows.syncing import first_sync
from tests.benchmarks.rows.updating import key_updates
from tests.benchmarks.rows.warming import warming


class Entry(Struct, frozen=True):
    """A row that can be asked for by name: what it measures, its goal, how, and whether that takes a load generator."""

    what: str
    goal: str
    measure: Row
    needs_load: bool = True


ROWS: Final = {
    "single-read": Entry("CPU of one cached GET .../replicas", "<= 1 x floor, 1.7 x Go", single_read),
    apiserver.ROW: Entry(apiserver.WHAT, apiserver.GOAL, apiserver.beside_apiserver),
    "lists": Entry("CPU of the two long lists", "<= 1.3 x floor", lists),
    "not-modified": Entry("CPU of 304 for the same", "<= 1.2 x single read", not_modified),
    "lists-gzip": Entry("CPU of the same, compressed", "<= 1.3 x floor of the same bytes", compressed),
    "partial-lists": Entry("CPU of lists for a client that may read half", "<= 1.5 x whole", partial_lists),
    "reviews": Entry("reviews for a client's reads, in any 10 s", "1, and 1 a namespace", reviews),
    "handshake": Entry("CPU of a full mutual handshake", "<= 1.05 x floor", handshake),
    "first-request": Entry("CPU of the first read of a connection", "<= 2 x a later one", first_request),
    "list-page": Entry("list pages to cache", "<= 2 x msgspec, >= 50 x faster than models", list_page, False),
    "first-sync": Entry("first sync of 100,000 Deployments, and memory", "<= 3 s CPU; <= 600 bytes each", first_sync),
    "storm": Entry("change to visible, reads meanwhile", "p99 <= 10 ms; read p99 <= 2 x idle", storm),
    "key-updates": Entry("longest wait while others send KeyUpdates", "<= 50 ms", key_updates),
    "idle-connections": Entry(
        "10,000 connections that hardly ask", "CPU <= 1.3 x 16; memory <= 1.3 x floor", idle_connections
    ),
    "growth": Entry("CPU of a single read as the cluster grows", "highest <= 1.1 x lowest", growth),
    "start": Entry("start to ready with 100 Deployments, and import", "< 1 s", starting, False),
    "shared-following": Entry(
        "1,000 changes/s at 50 api processes", "p99 <= 250 ms; 2 % and 4 % CPU", following, False
    ),
    "shared-requests": Entry("requests to the API server, takeover", "2 watchers'; 20 s, 3 s", leading, False),
    "shared-start": Entry("start of an api process beside a full cache", "<= 2 x an empty one", warming, False),
    "shared-bytes": Entry("memory in Redis, and what a load takes", "<= 170 bytes a Deployment", snapshots, False),
    "shared-reads": Entry("CPU of a single read of an api process", "<= 1.05 x --role all", shared_reads),
}
