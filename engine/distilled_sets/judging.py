"""How a synthetic set is judged: by networks that learn from it alone, beside networks that learn from real rows."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from engine import charts
from engine.distilled_sets.flat import FlatNetwork, fresh_weights
from engine.distilled_sets.networks import trained_on
from engine.metrics.distilled_sets import mean_and_spread, size_report
from engine.models.build import build
from engine.models.set_configs import NetworkConfig
from engine.models.synthetic_set import SyntheticSet
from engine.tasks.judging import judge_classifier
from engine.tasks.task import Judgement, Split

SET, RAW, LEARNED, RANDOM, KMEANS, ALL = "set", "raw", "learned_rate", "random_rows", "kmeans_rows", "all_rows"
TITLES = {
    SET: "the set",
    RAW: "before averaging",
    LEARNED: "the set, at its learned rate",
    RANDOM: "random real rows",
    KMEANS: "real rows nearest to K-means centers",
    ALL: "all real rows",
}


@dataclass(frozen=True)
class Rows:
    """What networks learn from: pictures (rows, …), labels, and a learning rate in place of the recipe's."""

    images: Tensor
    labels: Tensor
    rate: Tensor | None = None


@dataclass
class Witnesses:
    """The networks that were trained on the set last judged, so that a second split is judged by the same ones without training again."""

    digest: str = ""
    weights: dict[str, Tensor] = field(default_factory=dict)

    def turn_to(self, product: SyntheticSet) -> None:
        """Forgets those of another set."""
        digest = _digest(product)
        if digest != self.digest:
            self.digest, self.weights = digest, {}


def judge_set(
    product: SyntheticSet,
    *,
    train: Split,
    judged: Split,
    split: str,
    mean: Tensor,
    scale: Tensor,
    final: bool,
    witnesses: Witnesses,
) -> Judgement:
    """`judged` is the split called `split`, `train` the real rows that the set stands for; pixels were standardized with mean and scale.

    While a run is watched the first network answers alone, and its numbers have the names of a classifier's. The final evaluation adds all
    networks of all architectures on all sets, at one learning rate for all.
    """
    witnesses.turn_to(product)
    networks = JudgingNetworks(product, judged, witnesses)
    sets = forms_of(product, mean=mean, scale=scale)
    answers = networks.logits(product.config.network, SET, sets[SET], product.config.recipe.first_seed, unseen=False)
    labels = judged.targets
    assert labels is not None, "a set is judged on rows with labels"
    judgement = judge_classifier(logits=answers.cpu(), labels=labels.cpu(), split=split)
    metrics, tables = dict(judgement.metrics), dict(judgement.tables)
    metrics |= size_report(product.images, product.labels, classes=product.config.classes, real_rows=len(train))
    if product.learning_rate is not None:
        metrics["learned_rate"] = float(product.learning_rate.detach())
    if final:
        found = networks.accuracies({**sets, **baselines_of(product, train)})
        metrics |= numbers_of(found)
        tables["set_accuracies"] = _table(found, product, split)
    return Judgement(metrics, tables)


def forms_of(product: SyntheticSet, *, mean: Tensor, scale: Tensor) -> dict[str, Rows]:
    """The set in the forms that it has. A set of other pixel statistics than the task's is brought into the task's space."""
    device = product.images.device
    mean, scale = mean.to(device), scale.to(device)
    same = torch.equal(mean, product.mean) and torch.equal(scale, product.scale)

    def adopted(images: Tensor) -> Tensor:
        return images.detach() if same else (product.pixels(images) - mean) / scale

    forms = {SET: Rows(adopted(product.images), product.labels)}
    if product.last is not None:
        forms[RAW] = Rows(adopted(product.last), product.labels)
    if product.learning_rate is not None:
        forms[LEARNED] = Rows(forms[SET].images, product.labels, product.learning_rate.detach())
    return forms


def baselines_of(product: SyntheticSet, train: Split) -> dict[str, Rows]:
    """Real rows to compare with: as many random ones, those near K-means centers, and all unless the recipe leaves them out. The random ones
    are those that the set began as, where it began as real rows."""
    assert train.targets is not None, "real rows to compare with have labels"
    classes = product.config.classes
    smallest = int(train.targets.bincount(minlength=classes).min())
    per_class = max(1, min(len(product) // classes, smallest))
    source = product.source
    if bool((source < 0).any()) or int(source.max()) >= len(train):
        source = random_rows(train.targets, per_class, classes, torch.Generator().manual_seed(0))
    chosen = {RANDOM: source, KMEANS: kmeans_rows(train, per_class, classes)}
    real = {name: Rows(train.inputs[rows], train.targets[rows]) for name, rows in chosen.items()}
    return real if product.config.recipe.baselines == "small" else {**real, ALL: Rows(train.inputs, train.targets)}


def random_rows(labels: Tensor, per_class: int, classes: int, generator: torch.Generator) -> Tensor:
    """(classes · per_class,) int64: so many different rows of each class, in the order of the classes; of labels (rows,) int64.

    Raises ValueError when a class has fewer.
    """
    found = []
    for each in range(classes):
        rows = (labels == each).nonzero().squeeze(1)
        if len(rows) < per_class:
            raise ValueError(f"class {each} has {len(rows)} training rows")
        found.append(rows[torch.randperm(len(rows), generator=generator)[:per_class].to(rows.device)])
    return torch.cat(found)


def kmeans_rows(train: Split, per_class: int, classes: int) -> Tensor:
    """(classes · per_class,) int64: of each class the real rows nearest to the centers of per_class clusters of its pixels."""
    assert train.targets is not None, "clusters are made within classes"
    found = []
    for each in range(classes):
        rows = (train.targets == each).nonzero().squeeze(1)
        points = train.inputs[rows].flatten(1).cpu().numpy()
        centers = KMeans(min(per_class, len(rows)), n_init=1, random_state=0).fit(points).cluster_centers_
        nearest = [int(np.argmin(((points - center) ** 2).sum(axis=1))) for center in centers]
        found.append(rows[torch.tensor(nearest, device=rows.device)])
    return torch.cat(found)


Accuracies = dict[str, dict[str, list[float]]]
"""By architecture and kind of rows, one number a network."""


class JudgingNetworks:
    """The networks that judge one set on one split."""

    def __init__(self, product: SyntheticSet, judged: Split, witnesses: Witnesses) -> None:
        self.config, self.judged, self.weights = product.config, judged, witnesses.weights
        self.networks: dict[str, FlatNetwork] = {}

    def accuracies(self, sets: dict[str, Rows]) -> Accuracies:
        """Of every architecture on every set; the learned rate is for the architecture that it was learned with."""
        found: Accuracies = {}
        for at, network in enumerate([self.config.network, *self.config.unseen]):
            fitting = {name: rows for name, rows in sets.items() if at == 0 or name != LEARNED}
            found[network.architecture] = {name: self.accuracy(network, name, rows, unseen=at > 0) for name, rows in fitting.items()}
        return found

    def accuracy(self, network: NetworkConfig, name: str, rows: Rows, *, unseen: bool) -> list[float]:
        recipe = self.config.recipe
        seeds = range(recipe.first_seed, recipe.first_seed + recipe.networks)
        labels = self.judged.targets
        assert labels is not None, "a set is judged on rows with labels"
        right = [self.logits(network, name, rows, seed, unseen=unseen).argmax(dim=1).eq(labels) for seed in seeds]
        return [float(each.double().mean()) for each in right]

    def logits(self, network: NetworkConfig, name: str, rows: Rows, seed: int, *, unseen: bool) -> Tensor:
        """(rows, classes) of the judged split, by the network of this seed, trained unless it is known."""
        key = json.dumps([network.model_dump(mode="json"), name, seed])
        if network.architecture not in self.networks:
            self.networks[network.architecture] = self._flat(network, rows.images.device)
        flat = self.networks[network.architecture]
        if key not in self.weights:
            recipe = self.config.recipe
            rate = (recipe.unseen_learning_rate if unseen else recipe.learning_rate) if rows.rate is None else rows.rate
            theta = fresh_weights(network.model_dump(), seed, rows.images.device)
            self.weights[key] = trained_on(flat, theta, rows.images, rows.labels, recipe=recipe, rate=rate, seed=seed)
        return flat.logits(self.weights[key], self.judged.inputs)

    def _flat(self, network: NetworkConfig, device: torch.device) -> FlatNetwork:
        with torch.random.fork_rng(devices=[]):
            return FlatNetwork.of(build(network.builder, network.config).to(device))


def numbers_of(found: Accuracies) -> dict[str, float | None]:
    """The means by the names of the metric cards; the first architecture is the one that the set was distilled for."""
    seen, *others = found
    numbers: dict[str, float | None] = {}
    for name, values in found[seen].items():
        mean, spread = mean_and_spread(values)
        numbers[f"{name}_accuracy"] = mean
        if name == SET:
            numbers["set_accuracy_std"] = spread
    for name in (SET, RAW, RANDOM):
        pooled = [value for other in others for value in found[other].get(name, [])]
        if pooled:
            mean, spread = mean_and_spread(pooled)
            numbers["unseen_accuracy" if name == SET else f"{name}_unseen_accuracy"] = mean
            if name == SET:
                numbers["unseen_accuracy_std"] = spread
    return numbers


def _table(found: Accuracies, product: SyntheticSet, split: str) -> charts.ChartSpec:
    recipe, seen = product.config.recipe, product.config.network.architecture
    cells = []
    for architecture, sets in found.items():
        for name, values in sets.items():
            mean, spread = mean_and_spread(values)
            cells.append([architecture, "distilled for it" if architecture == seen else "unseen", TITLES[name], mean, spread, len(values)])
    note = f"{recipe.steps} steps each, at the rate {recipe.learning_rate:g}, unseen ones at {recipe.unseen_learning_rate:g}; the last step's weights. The spread has the divisor n."
    return charts.rows(
        f"Accuracy of fresh networks, {split} rows", ("architecture", "", "trained on", "accuracy", "spread", "networks"), cells, note=note
    )


def _digest(product: SyntheticSet) -> str:
    digest = hashlib.sha256(product.config.model_dump_json().encode())
    for name, tensor in product.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
