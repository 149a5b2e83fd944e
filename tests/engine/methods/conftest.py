"""What tests of several files look at and none changes."""

import pytest

from tests.engine.methods.crafting_runs import Played


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("played"))
