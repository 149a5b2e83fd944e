"""Redis away: nothing is refused, and it is asked once."""

from typing import Any

import pytest

from tests.processes import free_port
from tests.runs import new_run
from webapp.runs import doorbell, lifecycle
from webapp.runs.models import State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def without_redis(settings: Any) -> Any:
    """An address at which nobody listens."""
    settings.REDIS_URL = settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{free_port()}/0"
    doorbell.reset()
    yield
    doorbell.reset()


def test_a_run_is_submitted_and_stopped_while_redis_is_away(without_redis: None) -> None:
    run = new_run()

    submitted = lifecycle.submit(run, who="ann")
    stopped = lifecycle.request_stop(run, "ann")

    assert (submitted.state, stopped.state) == (State.QUEUED, State.STOPPED)


def test_redis_is_not_asked_again_for_a_while_after_it_did_not_answer(without_redis: None, caplog: pytest.LogCaptureFixture) -> None:
    run = new_run()

    for _ in range(20):
        doorbell.announce(run.pk, ["points"])

    assert [record.getMessage().partition(" (")[0] for record in caplog.records if record.name == doorbell.__name__] == [
        "Redis does not answer"
    ]
