"""How a set is judged: by networks that learn from it, beside networks that learn from real rows."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.distilled_sets.judging import Witnesses, baselines_of, judge_set, kmeans_rows, random_rows
from engine.distilled_sets.networks import trained_on
from engine.metrics.cards import HEADLINE, METRICS
from engine.models.build import build
from engine.models.set_configs import TrainingRecipe
from engine.models.synthetic_set import SyntheticSet, synthetic_set
from engine.spec import catalog
from engine.tasks.task import Split
from tests.engine.distilled_sets.matcher import BLUEPRINT, digits
from tests.engine.distilled_sets.small import network, pictures, weights

RECIPE = {"networks": 2, "steps": 20, "learning_rate": 0.03, "unseen_learning_rate": 0.05, "baselines": "small"}
PERCEPTRON = {"architecture": "mlp-64", "builder": "mlp", "config": {"inputs": 64, "hidden": [64], "classes": 10}}


def real_set(*, per_class: int = 1, seed: int = 0, recipe: dict | None = None, **config: object) -> SyntheticSet:
    """Of real digits."""
    train, made = (
        digits().splits["train"],
        synthetic_set(
            rows=10 * per_class,
            shape=[1, 8, 8],
            classes=10,
            network=BLUEPRINT,
            unseen=[PERCEPTRON],
            recipe={**RECIPE, **(recipe or {})},
            **config,
        ),
    )
    rows = random_rows(train.targets, per_class, 10, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made.images.copy_(train.inputs[rows])
        made.labels.copy_(train.targets[rows])
        made.mean.copy_(digits().mean)
        made.scale.copy_(digits().scale)
        made.source.copy_(rows)
    return made


def judge(product: SyntheticSet, *, final: bool, split: str = "validation", witnesses: Witnesses | None = None):
    task = digits()
    return judge_set(
        product,
        train=task.splits["train"],
        judged=task.splits[split],
        split=split,
        mean=task.mean,
        scale=task.scale,
        final=final,
        witnesses=witnesses or Witnesses(),
    )


def by_torch(product: SyntheticSet, seed: int) -> float:
    """Validation accuracy of a network that learned from the set by torch's own SGD."""
    torch.manual_seed(seed)
    module = build(BLUEPRINT["builder"], BLUEPRINT["config"])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.03 if step < 10 else 0.003
        optimizer.zero_grad()
        F.cross_entropy(module(product.images.detach()), product.labels).backward()
        optimizer.step()
    rows = digits().splits["validation"]
    return module(rows.inputs).argmax(dim=1).eq(rows.targets).double().mean().item()


def test_the_accuracy_is_the_mean_over_networks_that_learned_from_the_set_by_sgd():
    product = real_set()

    found = judge(product, final=True).metrics

    each = [by_torch(product, seed) for seed in (1000, 1001)]
    assert found["accuracy"] == pytest.approx(each[0])
    assert found["set_accuracy"] == pytest.approx(sum(each) / 2)
    assert found["set_accuracy_std"] == pytest.approx(abs(each[0] - each[1]) / 2)


def test_while_a_run_is_watched_one_network_answers_and_says_the_same_as_in_the_end():
    product = real_set()

    watched, final = judge(product, final=False).metrics, judge(product, final=True).metrics

    assert {name: final[name] for name in watched} == watched
    assert "set_accuracy" not in watched and watched["images_per_class"] == 1


def test_a_set_of_real_rows_is_worth_what_the_same_rows_are():
    found = judge(real_set(), final=True).metrics

    assert found["set_accuracy"] == found["random_rows_accuracy"]
    assert found["unseen_accuracy"] == found["random_rows_unseen_accuracy"]


def test_a_second_split_is_judged_by_the_same_networks_and_another_set_by_others():
    witnesses, product = Witnesses(), real_set()
    judge(product, final=True, witnesses=witnesses)
    first = dict(witnesses.weights)

    judge(product, final=True, split="test", witnesses=witnesses)
    again = dict(witnesses.weights)
    judge(real_set(seed=5), final=False, witnesses=witnesses)

    assert first.keys() == again.keys() and all(again[key] is first[key] for key in first)
    assert len(witnesses.weights) == 1


def test_a_learned_rate_is_tried_beside_the_rate_that_is_the_same_for_all():
    product = real_set(learned_rate=True)
    with torch.no_grad():
        product.learning_rate.fill_(0.03)

    found = judge(product, final=True).metrics

    assert found["learned_rate_accuracy"] == found["set_accuracy"]
    assert found["learned_rate"] == pytest.approx(0.03)


def test_a_set_with_other_pixel_statistics_is_brought_into_the_tasks():
    product, other = real_set(), real_set()
    with torch.no_grad():
        other.mean.add_(0.25)
        other.scale.mul_(2)
        other.images.copy_((product.pixels(product.images) - other.mean) / other.scale)

    assert judge(other, final=False).metrics["nll"] == pytest.approx(judge(product, final=False).metrics["nll"], rel=1e-3)


def test_soft_labels_are_learned_from():
    hard = real_set()
    made = synthetic_set(rows=10, shape=[1, 8, 8], classes=10, network=BLUEPRINT, recipe=RECIPE, soft_labels=True)
    with torch.no_grad():
        for name in ("images", "mean", "scale", "source"):
            getattr(made, name).copy_(getattr(hard, name))
        made.labels.copy_(F.one_hot(hard.labels, 10))

    assert judge(made, final=False).metrics["nll"] == pytest.approx(judge(hard, final=False).metrics["nll"], rel=1e-5)


def test_all_real_rows_are_compared_with_unless_the_recipe_leaves_them_out():
    everything, small = real_set(recipe={"baselines": "all"}), real_set()

    assert set(baselines_of(everything, digits().splits["train"])) == {"random_rows", "kmeans_rows", "all_rows"}
    assert "all_rows_accuracy" in judge(everything, final=True).metrics
    assert "all_rows_accuracy" not in judge(small, final=True).metrics


def test_a_set_that_began_as_noise_is_compared_with_other_rows_of_each_class():
    product = real_set(per_class=2)
    product.source.fill_(-1)

    rows = baselines_of(product, digits().splits["train"])["random_rows"]

    assert rows.labels.tolist() == [each for each in range(10) for _ in range(2)]


def test_random_rows_are_different_and_sorted_by_class_and_too_few_are_refused():
    labels = torch.tensor([0, 1, 0, 1, 1])

    rows = random_rows(labels, 2, 2, torch.Generator().manual_seed(0))

    assert labels[rows].tolist() == [0, 0, 1, 1] and len(set(rows.tolist())) == 4
    with pytest.raises(ValueError, match=r"^class 0 has 2 training rows$"):
        random_rows(labels, 3, 2, torch.Generator())


def test_rows_near_kmeans_centers_are_one_of_each_cluster():
    # Two tight groups in class 0, one in class 1; the row in the middle of each group is nearest to its center.
    places = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 9.0, 9.1]
    train = Split(torch.tensor(places).view(-1, 1), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1]))

    rows = kmeans_rows(train, 2, 2).tolist()

    assert sorted(rows[:2]) == [1, 4]
    assert set(rows[2:]) == {6, 7}


def test_a_set_larger_than_a_batch_is_walked_in_a_new_order_each_epoch():
    images, labels = pictures(6)
    recipe = TrainingRecipe(networks=1, steps=5, batch_size=4, learning_rate=0.1, unseen_learning_rate=0.1)

    one, same, other = (trained_on(network(), weights(1), images, labels, recipe=recipe, rate=0.1, seed=seed) for seed in (0, 0, 1))

    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_rate_falls_to_a_tenth_at_half_of_the_steps():
    images, labels = pictures(4)
    recipe = TrainingRecipe(networks=1, steps=2, learning_rate=0.1, unseen_learning_rate=0.1)
    flat, theta = network(), weights(1)

    found = trained_on(flat, theta, images, labels, recipe=recipe, rate=0.1, seed=0)

    parameter = nn.Parameter(theta.clone())
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=5e-4)
    for rate in (0.1, 0.01):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(flat(parameter, images), labels).backward()
        optimizer.step()
    assert torch.allclose(found, parameter.detach(), atol=1e-14)


def test_judging_leaves_the_set_and_the_generators_of_the_process_as_they_were():
    product = real_set()
    before, state = {name: tensor.clone() for name, tensor in product.state_dict().items()}, torch.get_rng_state()

    judge(product, final=True)

    assert all(torch.equal(tensor, before[name]) for name, tensor in product.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_headline_of_data_sets_are_numbers_with_cards_that_an_evaluation_has():
    found = judge(real_set(), final=True)

    assert set(HEADLINE["dataset"]) <= set(found.metrics) <= set(METRICS)
    columns = found.tables["set_accuracies"]["columns"]
    assert columns == ["architecture", "", "trained on", "accuracy", "spread", "networks"]
    assert len(found.tables["set_accuracies"]["cells"]) == 2 * 3  # two architectures; the set, random rows, K-means rows


def test_the_tasks_that_judge_sets_name_a_network_for_them_that_fits():
    for card in catalog.tasks().values():
        if "dataset" in card.kinds:
            architecture = card.architectures[card.students["dataset"]]
            inputs = torch.zeros(1, *card.input_shape)
            assert build(architecture.builder, architecture.config)(inputs).shape == (1, card.classes)
