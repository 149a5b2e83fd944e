"""What tests need that start children in their own process."""

from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

import pytest


@pytest.fixture(scope="module")
def forkserver_ends() -> Iterator[None]:
    """A worker's forkserver ends with the worker; this process goes on to other tests."""
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
