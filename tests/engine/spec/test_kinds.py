"""What the kinds of students declare is there: judges, models, and cards of the metrics that come first."""

import pkgutil
import sys

import pytest

from engine.metrics.cards import HEADLINE, METRICS
from engine.spec import catalog
from engine.spec.cards import KindCard

every_kind = pytest.mark.parametrize("kind", catalog.kinds().values(), ids=lambda kind: kind.id)


@every_kind
def test_what_comes_first_is_a_metric_with_a_card(kind: KindCard) -> None:
    assert kind.headline
    assert set(kind.headline) <= set(METRICS)
    assert set(kind.first_columns) <= set(METRICS)


@every_kind
def test_every_task_that_lists_it_is_one_that_its_judge_can_judge(kind: KindCard) -> None:
    judge = pkgutil.resolve_name(kind.judge)
    parent = getattr(sys.modules[judge.__module__], judge.__qualname__.partition(".")[0])
    tasks = [card.id for card in catalog.tasks().values() if kind.id in card.kinds]

    assert tasks
    assert [task for task in tasks if not issubclass(catalog.load_task(task), parent)] == []


@every_kind
def test_where_a_task_judges_it_beside_its_usual_kind_its_models_are_told_apart_or_judged_alike(kind: KindCard) -> None:
    for task in catalog.tasks().values():
        if kind.id in task.also:
            assert kind.model is not None or kind.judge == catalog.kinds()[task.kind].judge


def test_kinds_are_listed_in_their_own_order_and_the_classifier_stands_for_what_is_gone() -> None:
    assert list(HEADLINE) == ["classifier", "causal-lm", "generator", "denoiser", "dataset", "knowledge", "scene"]
    assert catalog.kind_of({"method": "gone", "task": "digits"}).id == "classifier"
    assert catalog.kind_of({}).id == "classifier"
    assert catalog.kind_of({"method": "mtt", "task": "digits"}).id == "dataset"
