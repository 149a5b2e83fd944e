"""Workers keep the experts of data set distillation in the store, so that the next run of the same recipe takes them over."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests import processes
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.runs.models import ENDED, LogLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

TINY: dict[str, Any] = {
    "method": "mtt",
    "task_options": {"train_limit": 150},
    "settings": {
        "experts": 1,
        "expert_epochs": 2,
        "max_start_epoch": 1,
        "matched_epochs": 1,
        "inner_steps": 1,
        "networks": 1,
        "network_steps": 2,
        "baselines": "small",
    },
    "budget": {"steps": 2},
    "threads": 1,
}


def test_the_second_run_of_a_recipe_takes_over_the_experts_of_the_first(process_environment: dict[str, str]) -> None:
    runs = [queued_run(**TINY, seed=seed) for seed in (1, 2)]

    with processes.worker(process_environment, slots=1):
        for each in runs:
            wait_for(lambda run=each: Run.objects.get(pk=run.pk).state in ENDED, seconds=120, what="the run to end")

    assert [Run.objects.get(pk=each.pk).state for each in runs] == [State.SUCCEEDED] * 2
    said = ["\n".join(LogLine.objects.filter(run=each).values_list("text", flat=True)) for each in runs]
    assert "buffer" not in said[0]
    named = re.search(r"The experts are those of the buffer (\w+\.safetensors), whose 6 steps took ", said[1])
    assert named is not None, said[1]
    assert (Path(settings.STORE) / "buffers" / named[1]).is_file()
