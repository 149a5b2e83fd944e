"""How several processes share the tests of one session: `pytest -n 2`, as `make test` has it.

Tests of one file stay together, for they share what its fixtures make. Files that start programs (workers, web servers, a browser) are two
lanes, in each of which they run one after the other: those of faults, which wait most of the time for what is to be noticed, and all others.
What runs over the catalog is handed out method by method.
"""

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

REDIS_URLS = "STILLHOUSE_TEST_REDIS_URLS"
"""In the environment of a session on servers that others may share: the address of a Redis database for each of its processes."""

FAULTS_LANE, PROGRAMS_LANE = "faults", "programs"
FAULTS = re.compile(r"tests/faults/")
PROGRAMS = re.compile(r"tests/(browser|workers)/|/test_(serve|real_web|passwords|matrix|load)\.py")
CATALOG = re.compile(r"(tests/engine/.*test_(?:every_method|cuda)\.py)::\w+\[([\w-]+)\]")


def lane_of(nodeid: str) -> str:
    """Tests with the same answer run in the same process, one after the other."""
    if FAULTS.search(nodeid):
        return FAULTS_LANE
    if PROGRAMS.search(nodeid):
        return PROGRAMS_LANE
    if found := CATALOG.match(nodeid):
        return f"{found[1]} {found[2]}"
    return nodeid.partition("::")[0]


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The programs first, because those are the longest lanes, then the files with many tests: what comes last should be short, so that all
    processes end at about the same time. The programs' tests stay in pytest's order, by the fixtures that they share."""
    files = Counter(map(file_of, items))

    def place(item: pytest.Item) -> tuple[int, int, str]:
        return (0, 0, "") if lane_of(item.nodeid) in {FAULTS_LANE, PROGRAMS_LANE} else (1, -files[file_of(item)], file_of(item))

    return sorted(items, key=place)


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


class Lanes(LoadScopeScheduling):
    """Hands out lanes in the order of their first tests."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid)
