"""DistillNearest and DistillWeighted: weights by hand, the loss against a slow version, and what happens before the first step."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.events import Log
from engine.methods.distill_similar import transferability
from engine.methods.distill_similar.selection import Probe, measured, ranks, weights_of
from engine.models.build import build
from engine.models.pictures import features_and_logits
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.task import Split
from tests.engine.methods.harness import CLASSES, INPUTS, data, new_method, weights
from tests.engine.methods.test_transferability import slow_parc
from tests.engine.tiny import Watcher, student_bytes

SOURCES = tuple(f"run:00000000-0000-4000-8000-00000000000{index}" for index in (1, 2))


def net(seed: int, *, classes: int = CLASSES, hidden: int = 6) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("mlp", {"inputs": INPUTS, "hidden": [hidden], "classes": classes}).double()


def new(settings: dict | None = None, *, sources=((11, 5), (12, 4)), split: Split | None = None, **more):
    given = {"learning_rate": 0.1, "resamples": 0, **(settings or {})}
    return new_method(
        "distill-similar",
        given,
        student=more.pop("student", None) or net(1),
        teachers=tuple(net(seed, classes=classes, hidden=7) for seed, classes in sources),
        split=split or data(),
        **more,
    )


def scored(method):
    """After the preparation."""
    phase = next(each for each in method.phases() if each.name == "score the sources")
    for index in range(phase.steps):
        method.position.phase_step = index
        phase.step(None)
    phase.end()
    method.position.phase_step = 0
    return method


def all_rows(method):
    split = method.task.splits["train"]
    return split.take(torch.arange(len(split)))


def gradient(method) -> Tensor:
    before = weights(method.student)
    method.step(all_rows(method))
    return (before - weights(method.student)) / 0.1


# Weights


def test_weights_are_powers_of_the_positive_similarities_over_their_sum():
    found = weights_of([60.0, -5.0, 30.0, 0.0], power=2.0)

    assert found == pytest.approx([0.8, 0.0, 0.2, 0.0])


@pytest.mark.parametrize("power", [0.0, 1.0, 9.0, None])
def test_weights_sum_to_one_follow_the_order_and_do_not_see_the_scale(power):
    similarities = [3.0, 41.0, -7.0, 39.0]

    found = weights_of(similarities, power=power)

    assert sum(found) == pytest.approx(1.0)
    assert found[2] == 0.0
    assert found[1] >= found[3] >= found[0] >= 0
    assert weights_of([0.01 * each for each in similarities], power=power) == pytest.approx(found)


def test_power_zero_is_uniform_over_the_positive_ones_and_a_large_one_takes_the_first():
    assert weights_of([60.0, -5.0, 30.0], power=0.0) == pytest.approx([0.5, 0.0, 0.5])
    assert weights_of([60.0, 66.0, 30.0], power=200.0) == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)


def test_the_nearest_takes_all_the_first_of_equal_ones_and_so_does_the_largest_when_none_is_positive():
    assert weights_of([5.0, 9.0, 9.0], power=None) == [0.0, 1.0, 0.0]
    assert weights_of([-5.0, -2.0, -9.0], power=9.0) == [0.0, 1.0, 0.0]


def test_tiny_weights_are_left_out_and_the_others_still_sum_to_one():
    found = weights_of([100.0, 99.0, 20.0], power=9.0, least=1e-4)

    assert found[2] == 0.0
    assert sum(found) == pytest.approx(1.0)
    assert found[0] / found[1] == pytest.approx((100 / 99) ** 9)


def test_the_largest_weight_stays_where_all_are_below_the_least():
    assert weights_of([40.0, 39.0, 38.0], power=1.0, least=0.9) == [1.0, 0.0, 0.0]
    assert weights_of([40.0, 40.0, 38.0], power=1.0, least=0.9) == [0.5, 0.5, 0.0]


def test_ranks_count_from_the_largest():
    assert ranks([3.0, 9.0, -1.0, 9.0]) == [3, 1, 4, 2]


# The loss


def slow_terms(method) -> tuple[Tensor, list[Tensor]]:
    split = method.task.splits["train"]
    features, logits = features_and_logits(method.student, split.inputs)
    labels = -logits.log_softmax(dim=1)[torch.arange(12), split.targets].mean()
    said = []
    for source, head in zip(method.teachers, method.heads, strict=True):
        p, log_q = source(split.inputs).softmax(dim=1), (features @ head.weight.T + head.bias).log_softmax(dim=1)
        said.append(-(p * log_q).sum() / 12)
    return labels, said


def test_the_loss_weighs_labels_and_the_sources_own_classes():
    method = scored(new({"label_weight": 0.3, "power": 1.0}))
    method.weights = [0.75, 0.25]
    labels, said = slow_terms(method)

    terms = method.step(all_rows(method))

    expected = 0.3 * labels + 0.7 * (0.75 * said[0] + 0.25 * said[1])
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert terms["loss/labels"].item() == pytest.approx(labels.item(), rel=1e-12)
    assert [terms[f"loss/source {index}"].item() for index in (1, 2)] == pytest.approx([each.item() for each in said], rel=1e-12)


def test_the_gradient_is_that_of_the_slow_version():
    method = scored(new({"label_weight": 0.3}))
    method.weights = [0.75, 0.25]
    labels, said = slow_terms(method)
    loss = 0.3 * labels + 0.7 * (0.75 * said[0] + 0.25 * said[1])
    expected = torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(method.student.parameters()))])

    assert torch.allclose(gradient(method), expected, atol=1e-12)


def test_with_all_the_weight_on_labels_it_is_plain_training_and_the_heads_rest():
    method = scored(new({"label_weight": 1.0}))
    heads = weights(method.heads)
    plain = new_method("supervised", {"learning_rate": 0.1, "weight_decay": 0.0}, student=net(1))

    terms = method.step(all_rows(method))
    plain.step(all_rows(plain))

    assert torch.allclose(weights(method.student), weights(plain.student), atol=1e-15)
    assert torch.equal(weights(method.heads), heads)
    assert set(terms) == {"loss", "loss/labels"}


def test_one_source_of_the_same_classes_with_a_tied_head_is_soft_label_distillation():
    method = scored(new({"label_weight": 0.0}, sources=((11, CLASSES),)))
    last = method.student[-1]
    method.heads[0].load_state_dict(last.state_dict())
    kd = new_method(
        "vanilla-kd",
        {"temperature": 1.0, "ce_weight": 0.0, "kd_weight": 1.0, "learning_rate": 0.1},
        student=net(1),
        teachers=(net(11, hidden=7),),
    )

    before = weights(kd.student)
    kd.step(all_rows(kd))
    expected = (before - weights(kd.student)) / 0.1

    found = gradient(method)
    size = last.weight.numel() + last.bias.numel()
    assert torch.allclose(found[:-size], expected[:-size], atol=1e-12)  # all before the two heads, which were one
    assert found[-size:].abs().max() == 0  # the student's own head learns from labels alone


def test_a_source_that_is_left_out_is_not_asked_and_its_head_rests():
    method = scored(new({"selection": "nearest"}))
    [used] = method.used()
    resting = method.heads[1 - used].weight.clone()

    terms = method.step(all_rows(method))

    assert torch.equal(method.heads[1 - used].weight, resting)
    assert f"loss/source {used + 1}" in terms and f"loss/source {2 - used}" not in terms


def test_many_labels_come_in_batches_and_each_once_in_a_pass():
    method = scored(new({"labeled_batch": 5}))
    seen = []

    for step in range(4):
        method.position.phase_step = step
        inputs, targets = method.labeled()
        assert len(inputs) == len(targets) == 5
        seen.append({tuple(row.tolist()) for row in inputs})

    assert not seen[0] & seen[1] and not seen[2] & seen[3]  # two batches of five are a pass over twelve
    assert seen[0] | seen[1] != seen[2] | seen[3] or seen[0] != seen[2]


# The preparation


def test_similarity_is_measured_on_the_features_of_the_labeled_rows():
    method = scored(new())
    split = method.task.splits["train"]
    features, logits = (each.detach().numpy() for each in features_and_logits(method.teachers[1], split.inputs))
    labels = split.targets.numpy()

    found = method.similarities[1]

    assert found["parc"] == pytest.approx(transferability.parc(features, labels))
    assert found["knn"] == transferability.knn(features, labels)
    assert found["leep"] == pytest.approx(transferability.leep(torch.tensor(logits).softmax(dim=1).numpy(), labels))
    assert found["rsa"] is None
    assert method.weights == weights_of([each["parc"] for each in method.similarities], power=9.0, least=1e-4)


@pytest.mark.parametrize("components", [None, 32])
def test_the_interval_is_that_of_the_score_with_the_same_preprocessing_in_every_resample(components: int | None):
    # 40 rows have 32 components, a resample of about 25 different ones has not.
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(40, 48)), np.arange(40) % 4
    features[:, :4] += 2 * np.eye(4)[labels]
    probe = Probe(features, generator.normal(size=(40, 3)), labels)

    found = measured(probe, chosen="parc", components=components, resamples=30, seed=5)

    scores, draws = [], np.random.default_rng(5)
    for _ in range(30):
        rows = np.unique(draws.integers(40, size=40))
        scores.append(slow_parc(features[rows], labels[rows], dims=components))
    assert found["interval"] == pytest.approx(np.quantile(scores, (0.025, 0.975)), abs=1e-6)


def test_what_sources_say_is_asked_once_and_read_by_row():
    method = scored(new())
    split = method.task.splits["train"]

    for source, said in zip(method.teachers, method.said, strict=True):
        assert torch.allclose(said, source(split.inputs).log_softmax(dim=1), atol=1e-12)


def test_sources_see_the_students_view_where_rows_are_augmented():
    method = scored(new())
    object.__setattr__(method.task, "augmentation", lambda: lambda inputs, generator: inputs + 1)
    batch = all_rows(method)
    batch.inputs = batch.inputs + 1

    seen = method.said_of(0, batch)

    assert torch.allclose(seen, method.teachers[0](batch.inputs).log_softmax(dim=1), atol=1e-12)
    assert not torch.allclose(seen, method.said[0], atol=1e-3)


def test_rsa_compares_with_a_copy_of_the_student_that_learned_the_labels():
    method = new({"similarity": "rsa", "reference_steps": 3})
    names = [phase.name for phase in method.phases()]
    start = weights(method.student)
    for _ in range(3):
        method.guide_step(all_rows(method))
    guided = features_and_logits(method.guide, method.task.splits["train"].inputs)[0].detach().numpy()

    scored(method)

    features = features_and_logits(method.teachers[0], method.task.splits["train"].inputs)[0].detach().numpy()
    assert names == ["train a reference", "score the sources", "transfer"]
    assert method.similarities[0]["rsa"] == pytest.approx(transferability.rsa(features, guided))
    assert torch.equal(weights(method.student), start)


def test_the_table_is_left_as_an_artifact_with_ranks_and_weights():
    method = scored(new({"resamples": 20}))
    table = method._context.save_table.__self__["similarity"]

    ranked = [row[table["columns"].index("rank")] for row in table["cells"]]
    weighed = [row[table["columns"].index("weight")] for row in table["cells"]]
    low, high = ([row[table["columns"].index(f"PARC, {end}")] for row in table["cells"]] for end in ("low", "high"))

    assert sorted(ranked) == [1, 2]
    assert weighed == [round(each, 4) for each in method.weights]
    assert all(a < b for a, b in zip(low, high, strict=True))


def test_a_head_is_the_same_whichever_other_sources_there_are():
    both, one = new(), new(sources=((11, 5),))

    assert torch.equal(both.heads[0].weight, one.heads[0].weight)


def test_sources_of_foreign_classes_have_no_fidelity():
    assert new(sources=((11, 5),)).reference() is None


def test_labels_of_one_class_are_refused_with_their_counts():
    split = replace(data(), targets=torch.zeros(12, dtype=torch.int64))

    with pytest.raises(SpecError) as refused:
        new(split=split)

    assert str(refused.value) == "task: digits needs at least two classes with at least two labeled rows each; got 12 of class 0."


def test_a_model_without_features_is_refused_with_its_place():
    with pytest.raises(SpecError, match=r"student: A Linear has no features to read"):
        new(student=torch.nn.Linear(INPUTS, CLASSES).double())


def test_weights_of_negative_measures_are_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "distill-similar", "task": "multi-source", "teachers": [SOURCES[0]], "settings": {"similarity": "leep"}})

    assert str(refused.value) == "settings.similarity: must be parc, rsa or knn for weights; got 'leep', which suits nearest."


# Runs


@pytest.mark.parametrize("settings", [{}, {"components": 32}])
def test_from_32_labels_on_the_source_of_the_same_digits_is_chosen_and_not_that_of_random_labels(settings, tmp_path):
    models = {}
    for ref, part in zip(SOURCES, ("random", "all"), strict=True):
        run_spec = {
            "method": "supervised",
            "settings": {"learning_rate": 3e-3},
            "task": "multi-source",
            "task_options": {"part": part, "split_seed": 110},
            "student": {"name": "mlp-128-64", "init_seed": 10},
            "budget": {"epochs": 15},
        }
        assert execute(RunSpec.parse(run_spec), Watcher(), tmp_path / part).status == "succeeded"
        models[ref] = tmp_path / part / "student"
    target = {
        "method": "distill-similar",
        "task": "multi-source",
        "task_options": {"split_seed": 110, "labeled": 32},
        "teachers": list(SOURCES),
        "settings": {"resamples": 20, **settings},
        "budget": {"steps": 1},
    }

    assert execute(RunSpec.parse(target), Watcher(), tmp_path, models=models).status == "succeeded"

    columns = _columns(tmp_path)
    assert columns["rank"] == [2, 1]
    assert columns["PARC"][1] > 50
    assert all(low < score < high for low, score, high in zip(columns["PARC, low"], columns["PARC"], columns["PARC, high"], strict=True))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    for index, part in enumerate(("all", "high")):
        spec = {
            "method": "supervised",
            "task": "multi-source",
            "task_options": {"part": part},
            "student": "mlp-128-64",
            "budget": {"epochs": 2},
        }
        assert execute(RunSpec.parse(spec), Watcher(), folder / part).status == "succeeded", index
    return {ref: folder / part / "student" for ref, part in zip(SOURCES, ("all", "high"), strict=True)}


def spec(**settings: object) -> RunSpec:
    return RunSpec.parse(
        {
            "method": "distill-similar",
            "task": "multi-source",
            "teachers": list(SOURCES),
            "settings": {"resamples": 5, **settings},
            "budget": {"steps": 8},
            "cadence": {"evaluate": 4, "checkpoint": 1},
            "threads": 1,
        }
    )


@pytest.mark.parametrize(
    ("settings", "step"), [({}, 1), ({"similarity": "rsa", "reference_steps": 3}, 2), ({"similarity": "rsa", "reference_steps": 3}, 4)]
)
def test_a_run_stopped_while_it_scores_goes_on_as_if_nothing_had_been(settings, step: int, sources, tmp_path):
    whole, resumed = Watcher(), Watcher()
    assert execute(spec(**settings), whole, tmp_path / "whole", models=sources).status == "succeeded"

    stopped = Watcher()
    execute(spec(**settings), stopped, tmp_path / "stopped", models=sources, stop=stopped.stop_after(step))
    newest = tmp_path / "stopped" / f"checkpoints/step-{step:09d}"
    assert execute(spec(**settings), resumed, tmp_path / "resumed", models=sources, resume=newest).status == "succeeded"

    assert stopped.terms() + resumed.terms() == whole.terms()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
    assert _table(tmp_path / "resumed") == _table(tmp_path / "whole")


def test_sources_with_other_classes_than_the_target_teach_it_and_are_not_shipped(sources, tmp_path):
    assert execute(spec(), Watcher(), tmp_path, models=sources).status == "succeeded"

    model, meta = load_model(tmp_path / "student", card=catalog.tasks()["multi-source"])
    assert meta["classes"] == 5
    assert meta["parameters"] == 64 * 32 + 32 + 32 * 5 + 5
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 5)
    assert np.isclose(sum(row[2] for row in _table(tmp_path)["cells"]), 1.0, atol=1e-3)


def test_a_run_whose_weights_are_all_below_the_least_learns_from_the_most_similar_source_and_says_so(sources, tmp_path):
    watcher = Watcher()

    assert execute(spec(power=0.1, least_weight=0.9), watcher, tmp_path, models=sources).status == "succeeded"

    columns = _columns(tmp_path)
    assert sorted(columns["weight"]) == [0.0, 1.0]
    assert columns["rank"][columns["weight"].index(1.0)] == 1
    assert "All weights are below least_weight, 0.9: only the most similar source is used." in [line.text for line in watcher.of(Log)]


def _columns(folder: Path) -> dict[str, list]:
    table = _table(folder)
    return {name: [row[at] for row in table["cells"]] for at, name in enumerate(table["columns"])}


def _table(folder: Path) -> dict:
    return json.loads((folder / "tables" / "similarity.json").read_text(encoding="utf-8"))
