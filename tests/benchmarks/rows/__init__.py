"""The rows of the table: each module measures one thing, or a few that share their set-up."""

from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Row
from tests.benchmarks.rows.reads import single_read


class Entry(Struct, frozen=True):
    """A row that can be asked for by name: what it measures, its goal, how, and whether that takes a load generator."""

    what: str
    goal: str
    measure: Row
    needs_load: bool = True


ROWS: Final = {
    "single-read": Entry("CPU of one cached GET .../replicas", "<= 2 x floor", single_read),
}
